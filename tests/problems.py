"""The table of problems: one line each, with a name. Append only: a bug is fixed once a case that
failed is here.

A line is a problem line (csrc/core/text.h) without its result and dtype, which the tests supply.
"""

PROBLEMS = {
    # Kernels
    "point": "channels=1>1 input=1 kernel=1",
    "1x1": "batch=2 channels=5>7 input=6x7 kernel=1x1 bias=1",
    "1x1_strided": "batch=2 channels=5>7 input=6x7 kernel=1x1 stride=2x3",
    "3x3": "batch=2 channels=3>4 input=8x9 kernel=3x3 padding=1x1 bias=1",
    "2x4_even": "channels=3>4 input=8x9 kernel=2x4 padding=1x2",
    "5x1_flat": "channels=3>4 input=8x9 kernel=5x1 padding=2x0",
    "7x7_first_layer": "batch=2 channels=3>16 input=23x21 kernel=7x7 stride=2x2 padding=3x3 bias=1",
    "kernel_is_input": "batch=2 channels=4>3 input=5x6 kernel=5x6",
    "long_filter": "channels=1>2 input=300 kernel=129 padding=64",
    # Axes
    "1d": "batch=3 channels=4>6 input=33 kernel=3 padding=1 bias=1",
    "1d_causal": "batch=2 channels=4>6 input=20 kernel=4 padding=6 dilation=2 output=20",
    "3d": "batch=2 channels=2>3 input=5x6x7 kernel=3x2x3 padding=1x0x1 bias=1",
    "3d_strided": "channels=2>3 input=7x6x7 kernel=3x2x3 stride=2x1x3 padding=1x1x0",
    "width_one": "batch=2 channels=3>4 input=9x1 kernel=3x1 padding=1x0",
    # Strides, dilations and their common divisors
    "stride_2": "batch=2 channels=3>4 input=9x10 kernel=3x3 stride=2x2 padding=1x1 bias=1",
    "stride_3_kernel_2": "channels=3>4 input=11x10 kernel=2x2 stride=3x3",
    "stride_beyond_input": "channels=3>4 input=4x4 kernel=2x2 stride=9x7",
    "dilation_2": "channels=3>4 input=11x12 kernel=3x3 dilation=2x2 padding=2x2",
    "stride_2_dilation_2": "channels=3>4 input=11x12 kernel=3x3 stride=2x2 dilation=2x2",
    "stride_4_dilation_6": "channels=2>3 input=40 kernel=5 stride=4 dilation=6 padding=7",
    "stride_3_dilation_2": "channels=2>3 input=20x9 kernel=3x4 stride=3x3 dilation=2x2 padding=4x1",
    "gaps_on_outer_axis": "channels=3>4 input=4x5x6 kernel=2x1x3 stride=2x1x1 dilation=4x1x1 "
    "padding=3x0x1",
    # Products added up by input: images and channels that share a task, bands of an image, rows of
    # a product cut inside a channel, slots that no tap reaches
    "slots_many_images": "batch=70 channels=9>12 input=5x6 kernel=3x3 stride=2x2 padding=1x1",
    "slots_many_channels": "batch=3 channels=90>5 input=9x7 kernel=3x3 stride=2x3",
    "slots_bands": "batch=2 channels=2>3 input=260x150 kernel=5x3 stride=2x2 padding=2x1",
    "slots_bands_1d": "channels=1>5 input=3000 kernel=64 stride=16 padding=9",
    "slots_long_taps": "batch=2 channels=2>3 input=900 kernel=300 stride=100",
    "slots_gaps": "channels=3>4 input=21x19 kernel=2x3 stride=3x4 dilation=1x2 padding=1x0",
    "slots_crop": "channels=3>4 input=15x13 kernel=3x3 stride=2x2 padding=-2x-1 output=4x5",
    "slots_flip_3d": "batch=2 channels=2>9 input=5x6x7 kernel=3x2x3 padding=1x0x1 flip=1",
    "patches": "batch=2 channels=3>8 input=8x12 kernel=4x4 stride=4x4 bias=1",
    "few_channels": "batch=2 channels=3>16 input=11x37 kernel=3x3 padding=1x1",
    # Padding: one-sided, negative, beyond the kernel; outputs beyond the natural size
    "asymmetric": "channels=3>4 input=6x7 kernel=3x3 padding=2x0 output=7x8",
    "crop": "channels=3>4 input=9x8 kernel=3x3 padding=-2x-1 output=4x5",
    "crop_high": "channels=3>4 input=9x8 kernel=3x3 padding=0x1 output=3x4",
    "far_padding": "channels=3>4 input=5x5 kernel=3x3 padding=6x5",
    "output_all_padding": "channels=2>2 input=3x3 kernel=2x2 padding=9x9 output=4x4",
    "output_padding": "channels=3>4 input=10x11 kernel=3x3 stride=3x3 padding=1x1 output=3x4",
    "blind_taps": "batch=2 channels=3>4 input=1x2 kernel=3x5 padding=1x4 bias=1",
    "blind_taps_causal": "channels=3>4 input=3 kernel=7 padding=6 output=3 flip=1",
    "blind_taps_dilated": "channels=4>6 groups=2 input=5x7 kernel=3x3 dilation=6x8 padding=6x8",
    # Groups
    "grouped": "batch=2 channels=6>9 groups=3 input=7x6 kernel=3x3 padding=1x1 bias=1",
    "depthwise": "batch=2 channels=5>5 groups=5 input=8x9 kernel=3x3 padding=1x1 bias=1",
    "depthwise_even_kernel": "channels=5>5 groups=5 input=8x9 kernel=4x2 stride=2x1 padding=2x1",
    "depthwise_multiplier": "channels=4>12 groups=4 input=8x9 kernel=3x3 padding=1x1",
    "grouped_17": "channels=34>51 groups=17 input=4x5 kernel=3x3 padding=1x1",
    # Both sides of each boundary: rows of a tile (4, 8), lanes and columns (4 .. 48), depth chunk
    "tile_minus": "channels=3>7 input=47 kernel=3 padding=1",
    "tile": "channels=4>8 input=48 kernel=3 padding=1 bias=1",
    "tile_plus": "channels=5>9 input=49 kernel=3 padding=1",
    "strip_across_images": "batch=5 channels=3>9 input=5x5 kernel=3x3 padding=1x1 bias=1",
    "lanes": "channels=4>4 input=16 kernel=1",
    "lanes_plus": "channels=4>4 input=17 kernel=1",
    "chunk_minus": "channels=21>5 input=5x5 kernel=3x3 padding=1x1",
    "chunk_plus": "channels=22>5 input=5x5 kernel=3x3 padding=1x1",
    "deep": "channels=100>5 input=7x7 kernel=3x3 padding=1x1 bias=1",
    "many_positions": "channels=2>3 input=33x32 kernel=3x3 padding=1x1",
    "two_chunks_of_positions": "batch=3 channels=2>3 input=30x35 kernel=3x3 padding=1x1",
    "wide_blocks": "channels=12>130 input=9x9 kernel=3x3 padding=1x1",
    # Nothing
    "empty_batch": "batch=0 channels=3>4 input=5x5 kernel=3x3",
    "empty_output": "channels=3>4 input=5x5 kernel=3x3 output=0x3",
    "no_input_channels": "batch=2 channels=0>4 input=5x5 kernel=3x3 bias=1",
    # Folds
    "reflect": "batch=2 channels=3>4 input=7x8 kernel=3x5 padding=1x2 padding_mode=reflect bias=1",
    "reflect_full_reach": "channels=2>3 input=4x5 kernel=3x3 padding=3x4 padding_mode=reflect",
    "replicate": "channels=3>4 input=5x6 kernel=3x3 stride=2x1 padding=4x3 padding_mode=replicate",
    "replicate_of_one": "channels=2>3 input=1x2 kernel=3x3 padding=2x1 padding_mode=replicate",
    "circular": "channels=3>4 input=6x7 kernel=3x3 padding=2x3 padding_mode=circular",
    "circular_full_reach": "channels=2>3 input=3x4 kernel=3x3 padding=3x4 padding_mode=circular",
    "fold_dilated_strided": (
        "channels=2>3 input=9x9 kernel=3x3 stride=2x3 dilation=2x1 padding=3x2 padding_mode=reflect"
    ),
    "fold_1d": "channels=2>3 input=12 kernel=5 padding=4 padding_mode=circular",
    # True convolution
    "flip": "batch=2 channels=3>4 input=7x8 kernel=3x2 padding=1x1 flip=1 bias=1",
    "flip_strided": "channels=3>4 input=9x8 kernel=3x4 stride=2x3 dilation=1x2 padding=2x3 flip=1",
    "flip_3d_grouped": "channels=4>6 groups=2 input=4x5x6 kernel=2x3x2 padding=1x1x1 flip=1",
    "flip_reflect": "channels=3>4 input=7x8 kernel=3x3 padding=2x2 padding_mode=reflect flip=1",
    # Lines and bands: both sides of eight lines and of a thousand columns, more lines than a band
    "lines_minus": "batch=2 channels=3>3 groups=3 input=7x9 kernel=3x3 padding=1x1 bias=1",
    "lines_plus": "channels=4>8 groups=4 input=9x33 kernel=3x3 padding=1x1",
    "depthwise_1d_long": "channels=2>2 groups=2 input=4100 kernel=4 padding=3 output=4100",
    "depthwise_phases": "batch=2 channels=3>3 groups=3 input=20x24 kernel=3x3 stride=2x2 "
    "padding=1x1",
    "long_line": "channels=2>2 groups=2 input=2x1100 kernel=2x3 stride=1x2 padding=1x1",
    "columns_in_blocks": "channels=2>2 groups=2 input=1300 kernel=4 padding=3 output=1300",
    "many_bands": "channels=2>4 groups=2 input=400x150 kernel=3x2 padding=1x0",
    "depthwise_far_stride": "channels=2>2 groups=2 input=9x20 kernel=2x3 stride=1x7 padding=1x2",
    "depthwise_one_line": "channels=2>2 groups=2 input=3x9 kernel=3x3 stride=2305843009213693952x1 "
    "padding=0x1",
    # Groups as lanes: both sides of a vector of groups (2 .. 16), three of them; of a tile's rows
    # (1 .. 4), columns (6 .. 14) and taps (6 .. 9); bands and blocks of columns
    "groups_minus": "batch=2 channels=15>15 groups=15 input=7x7 kernel=3x3 padding=1x1 bias=1",
    "groups_16": "batch=2 channels=32>32 groups=16 input=7x7 kernel=3x3 padding=1x1 bias=1",
    "groups_plus": "channels=51>85 groups=17 input=4x15 kernel=2x5 padding=1x2",
    "groups_49": "batch=3 channels=49>98 groups=49 input=14x9 kernel=3x3 stride=2x2 padding=1x1",
    "groups_few_taps": "batch=2 channels=33>33 groups=33 input=37 kernel=3 padding=2",
    "groups_of_five": "channels=40>24 groups=8 input=7x8 kernel=3x2 padding=1x1 flip=1",
    "groups_of_sixteen": "channels=48>48 groups=3 input=7x7 kernel=3x3 padding=1x1",
    "groups_dilated": "channels=18>18 groups=18 input=9x23 kernel=3x4 stride=1x4 dilation=2x6 "
    "padding=2x9",
    "groups_reflect": "channels=9>9 groups=9 input=6x7 kernel=3x5 stride=1x2 padding=1x2 "
    "padding_mode=reflect",
    "groups_circular_3d": "channels=4>8 groups=4 input=3x4x5 kernel=2x3x3 padding=1x1x2 "
    "padding_mode=circular",
    "groups_in_bands": "batch=2 channels=32>32 groups=2 input=30x40 kernel=5x3 padding=2x1",
    "groups_4_to_8": "channels=64>128 groups=16 input=4x5 kernel=3x3 padding=1x1 bias=1",
    "groups_16_to_16": "batch=2 channels=256>256 groups=16 input=3x4 kernel=2x3 padding=0x1",
    # channels_last: dense, grouped, depthwise, strided, on 1 to 3 axes
    "last_dense": "batch=2 channels=19>35 input=7x9 kernel=3x3 padding=1x1 bias=1 channels_last=1",
    "last_1x1": "batch=2 channels=17>33 input=7x7 kernel=1x1 bias=1 channels_last=1",
    "last_strided": "channels=5>9 input=9x8 kernel=3x2 stride=2x3 padding=1x1 channels_last=1",
    "last_grouped": "channels=12>8 groups=4 input=6x7 kernel=3x3 padding=1x1 channels_last=1",
    "last_depthwise": "batch=2 channels=37>37 groups=37 input=9x7 kernel=3x3 padding=1x1 bias=1 "
    "channels_last=1",
    "last_1d": "channels=33>33 groups=33 input=21 kernel=4 padding=3 output=21 channels_last=1",
    "last_3d": "channels=3>17 input=4x5x6 kernel=2x3x2 padding=1x1x0 channels_last=1",
    "last_reflect": "channels=18>18 groups=18 input=7x8 kernel=3x3 padding=2x2 "
    "padding_mode=reflect channels_last=1",
    # Found by fuzzing
    "replicate_far": "channels=2>2 input=9x6 kernel=3x1 stride=2x1099511627776 dilation=1x3 "
    "padding=1x4 output=3x6 padding_mode=replicate",
    "replicate_both_edges": "channels=2>3 input=2x3 kernel=5x4 padding=6x7 padding_mode=replicate",
    # Blocks of taps and of lines: rows of 1 to 9 taps, columns of 1 to 13, lines of 1 to 4 vectors
    "taps_5x5": "batch=3 channels=3>3 groups=3 input=15x15 kernel=5x5 padding=2x2 bias=1",
    "taps_7x7": "batch=2 channels=3>6 groups=3 input=13x17 kernel=7x7 padding=3x3",
    "taps_9x9": "batch=2 channels=2>2 groups=2 input=11x32 kernel=9x9 padding=4x4",
    "taps_3x13": "channels=4>2 groups=2 input=9x49 kernel=3x13 padding=1x6",
    "taps_31x2": "channels=2>2 groups=2 input=33x63 kernel=31x2 padding=15x1",
    "taps_7_of_1d": "batch=5 channels=3>3 groups=3 input=95 kernel=7 padding=6 output=95",
    "fewer_lines_than_taps": "channels=2>2 groups=2 input=2x40 kernel=7x3 padding=3x1",
    "lines_in_classes": "channels=2>4 groups=2 input=23x20 kernel=5x3 stride=2x2 dilation=3x1 "
    "padding=6x1",
    "lines_in_classes_reflect": "channels=2>2 groups=2 input=19x18 kernel=3x5 dilation=4x2 "
    "padding=4x4 padding_mode=reflect",
    "batch_in_splits": "batch=19 channels=2>2 groups=2 input=9x10 kernel=3x3 padding=1x1",
    "bands_in_splits": "batch=2 channels=1>2 input=150x200 kernel=3x5 padding=1x2",
    "places_of_3d": "batch=2 channels=2>2 groups=2 input=4x9x18 kernel=3x3x3 padding=1x1x1 bias=1",
    # Winograd tiles: both sides of 2, 4 and 8 outputs, of a vector of channels, of three vectors
    "tiles_of_1": "batch=3 channels=15>16 input=1x1 kernel=3x3 padding=1x1 bias=1",
    "tiles_of_2_3": "batch=2 channels=16>17 input=2x3 kernel=3x3 padding=1x1",
    "tiles_of_4_5": "batch=2 channels=17>15 input=4x5 kernel=3x3 padding=1x1 bias=1",
    "tiles_of_6_7": "batch=5 channels=5>31 input=6x7 kernel=3x3 padding=1x1",
    "tiles_of_8_9": "batch=2 channels=31>33 input=8x9 kernel=3x3 padding=1x1 bias=1",
    "tiles_of_13_14": "channels=32>49 input=13x14 kernel=3x3 padding=1x1",
    "tiles_of_15_17": "channels=33>48 input=15x17 kernel=3x3 padding=1x1 flip=1",
    "long_tile_lines": "channels=3>97 input=4x70 kernel=3x3 padding=1x1 bias=1",
    "tiles_1d": "batch=2 channels=17>20 input=79 kernel=3 padding=1 bias=1",
    "tiles_3d": "channels=5>18 input=3x5x6 kernel=3x3x3 padding=1x1x1 bias=1",
    "tiles_and_plain_axes": "channels=9>7 input=6x5x7 kernel=3x1x3 padding=1x1x0 flip=1",
    "tiles_plain_last": "batch=2 channels=9>7 input=6x5 kernel=3x1 padding=1x2 output=6x7",
    "tiles_dilated": "channels=5>9 input=23x17 kernel=3x3 dilation=2x5 padding=2x3 bias=1",
    "tiles_dilated_fold": "channels=5>9 input=12x11 kernel=3x3 dilation=2x3 padding=2x3 "
    "padding_mode=reflect",
    "tiles_grouped": "batch=2 channels=36>40 groups=2 input=9x10 kernel=3x3 padding=1x1 bias=1",
    "tiles_deep": "channels=390>5 input=6x6 kernel=3x3 padding=1x1",
    # By weight: tiles in blocks, channels in blocks
    "tiles_in_blocks": "channels=1000>1 input=17x17 kernel=3x3 padding=1x1",
    "tiles_of_blocks": "channels=230>33 input=6x5 kernel=3x3 padding=1x1 flip=1",
    # channels_last: lines in bands, phases, and axes before the last two
    "last_bands": "channels=33>33 groups=33 input=6x500 kernel=3x3 padding=1x1 bias=1 "
    "channels_last=1",
    "last_phases": "channels=16>16 groups=16 input=12x13 kernel=3x3 stride=2x2 padding=1x1 "
    "channels_last=1",
    "last_volume": "channels=17>17 groups=17 input=3x5x6 kernel=3x3x3 padding=1x1x1 bias=1 "
    "channels_last=1",
    # Fourier tiles: both sides of 128, 384 and 512 elements of a line and of 32 lines; several
    # tiles; taps that leave room for few outputs; blocks of channels and chunks of the depth; the
    # line on the last axis or not; axes that are walked, dilated, folded
    "fourier_127": "batch=2 channels=3>5 input=127 kernel=33 bias=1",
    "fourier_128": "batch=3 channels=2>3 input=128 kernel=33 flip=1 bias=1",
    "fourier_129": "batch=2 channels=3>4 input=129 kernel=33",
    "fourier_383": "channels=2>2 groups=2 input=383 kernel=90 bias=1",
    "fourier_385": "channels=1>3 input=385 kernel=65 flip=1",
    "fourier_511": "batch=2 channels=2>3 input=511 kernel=100 bias=1",
    "fourier_513": "channels=2>1 input=513 kernel=100",
    "fourier_even": "channels=3>2 input=255 kernel=64 padding=32 bias=1",
    "fourier_tiles": "batch=2 channels=2>2 groups=2 input=1500 kernel=70 padding=69 output=1500",
    "fourier_all_taps": "channels=2>3 input=1023 kernel=1000 padding=9 bias=1",
    "fourier_deep": "channels=50>2 input=810 kernel=800 bias=1",
    "fourier_wide": "channels=2>130 input=810 kernel=800 bias=1",
    "fourier_strided": "channels=2>3 input=700 kernel=130 stride=3 padding=40",
    "fourier_crop": "channels=2>3 input=300 kernel=70 padding=-20 output=150",
    "fourier_dilated": "channels=2>3 input=500 kernel=70 dilation=5 padding=30 bias=1",
    "fourier_reflect": "batch=2 channels=2>3 input=150 kernel=65 padding=64 padding_mode=reflect",
    "fourier_circular": "channels=2>3 input=150 kernel=65 padding=40 padding_mode=circular flip=1",
    "fourier_replicate": "channels=2>3 input=150 kernel=66 padding=20 padding_mode=replicate",
    "fourier_31x29": "batch=2 channels=3>3 groups=3 input=33x37 kernel=31x29 padding=15x14 bias=1",
    "fourier_32_lines": "channels=2>3 input=32x40 kernel=9x11 bias=1",
    "fourier_33_lines": "channels=2>3 input=33x41 kernel=10x12 flip=1",
    "fourier_many_tiles": "channels=2>2 input=70x150 kernel=9x11 padding=4x5 bias=1",
    "fourier_dilated_2d": "channels=3>2 input=31x45 kernel=9x8 dilation=2x3 padding=9x7 "
    "padding_mode=circular",
    "fourier_3d": "channels=2>3 input=9x10x20 kernel=5x4x7 padding=2x1x3 bias=1",
    "fourier_flip_3d": "batch=2 channels=4>2 groups=2 input=9x10x11 kernel=4x5x6 padding=2x2x3 "
    "flip=1",
    "fourier_walked": "channels=2>3 input=40x3x45 kernel=9x1x11 stride=1x2x1 padding=4x1x5 bias=1",
    "fourier_line_first": "batch=2 channels=3>4 input=150x5 kernel=70x1 padding=20x1",
    "fourier_last": "channels=6>4 groups=2 input=40x50 kernel=13x12 padding=6x5 bias=1 "
    "channels_last=1",
    # Taps that lie side by side, positions far apart: squares to be turned, with edges of their own
    "turned_patches": "batch=3 channels=3>20 input=32x40 kernel=8x8 stride=8x8 bias=1",
    "turned_edges": "batch=2 channels=2>5 input=29x61 kernel=7x6 stride=4x3 padding=3x7 bias=1",
    "turned_fold": "channels=2>5 input=61 kernel=9 stride=5 padding=6 padding_mode=reflect",
    "turned_depth": "channels=5>6 input=700 kernel=160 stride=40 padding=30",
    # One output of all taps: taps are channels; images of one position: a line of them
    "whole_images": "batch=21 channels=3>11 input=2x4x5 kernel=2x4x5 bias=1",
    "whole_groups": "batch=9 channels=4>6 groups=2 input=3x6 kernel=3x3 dilation=1x2 output=1x1",
    "points": "batch=37 channels=13>21 input=1x1 kernel=1x1 bias=1",
    "last_points": "batch=5 channels=13>21 input=4x3 kernel=1x1 bias=1 channels_last=1",
    # Outputs that see nothing but padding
    "blind_outputs": "batch=2 channels=9>12 input=7x7 kernel=1x1 stride=2x2 padding=3x4",
    "blind_lines": "batch=2 channels=3>4 input=5x6 kernel=3x2 stride=1x3 padding=7x0",
    # A line of X for more rows of W than a page has lines; rows of X that share a set of the cache
    "shallow": "channels=1>70 input=40x41 kernel=3x3 padding=1x1 bias=1",
    "aliased": "channels=40>9 input=16x16 kernel=1x1 bias=1",
    # Strided by input, groups as lanes: images as panels, with gaps, in pieces, of three axes
    "image_panels": "batch=3 channels=19>19 groups=19 input=9x11 kernel=5x3 stride=2x2 padding=2x1",
    "image_gaps": "batch=2 channels=20>20 groups=10 input=14x13 kernel=2x2 stride=3x3 padding=1x0",
    "image_rows": "batch=2 channels=24>36 groups=12 input=9x10 kernel=3x3 stride=2x3 dilation=3x1 "
    "padding=2x1",
    "image_volume": "batch=2 channels=9>9 groups=9 input=5x6x7 kernel=3x3x3 stride=2x1x2 "
    "padding=1x1x1",
    # Many rows of taps: near the edge some lie in the padding
    "many_rows": "batch=2 channels=9>9 groups=9 input=7x9 kernel=13x5 padding=6x2 bias=1",
    "many_rows_grouped": "channels=6>4 groups=2 input=20x17 kernel=9x3 stride=2x1 dilation=3x1 "
    "padding=14x1 bias=1",
    "many_rows_far": "channels=2>2 groups=2 input=4x21 kernel=15x4 stride=3x1 padding=11x2 bias=1",
    # Depthwise on a GPU: tiles of many planes, one plane, a piece of a line; aligned and not; halos
    # that take most of a tile; vectors of channels
    "planes_many": "batch=9 channels=4>4 groups=4 input=7x7 kernel=3x3 padding=1x1 bias=1",
    "planes_of_17_images": "batch=17 channels=2>2 groups=2 input=3x5 kernel=2x3 padding=1x1",
    "planes_aligned": "batch=2 channels=3>3 groups=3 input=17x32 kernel=3x3 padding=1x1 bias=1",
    "planes_aligned_fold": "channels=2>4 groups=2 input=9x16 kernel=3x7 padding=2x3 "
    "padding_mode=reflect flip=1",
    "planes_aligned_stride_2": "batch=2 channels=3>3 groups=3 input=16x32 kernel=3x3 stride=2x2 "
    "padding=1x1",
    "planes_wide": "channels=2>2 groups=2 input=5x272 kernel=5x4 padding=2x3 output=5x272",
    "planes_tall": "channels=2>2 groups=2 input=1030x8 kernel=3x5 padding=1x2",
    "planes_of_3d": "batch=2 channels=2>2 groups=2 input=9x8x40 kernel=3x3x3 stride=1x2x2 "
    "dilation=2x1x1 padding=2x1x1",
    "planes_stride_3_rows": "channels=3>3 groups=3 input=20x9 kernel=4x3 stride=3x1 padding=1x1",
    "causal_aligned": "batch=2 channels=3>3 groups=3 input=1040 kernel=4 padding=3 output=1040 "
    "bias=1",
    "taps_31x31": "channels=2>2 groups=2 input=13x16 kernel=31x31 padding=15x15",
    "taps_51x5": "channels=2>2 groups=2 input=60x24 kernel=51x5 padding=25x2",
    "taps_2x51": "channels=2>2 groups=2 input=9x60 kernel=2x51 padding=1x25",
    "last_aligned_7x7": "batch=2 channels=24>24 groups=24 input=9x11 kernel=7x7 padding=3x3 bias=1 "
    "channels_last=1",
    "last_aligned_bias": "batch=2 channels=16>16 groups=16 input=7x9 kernel=3x3 padding=1x1 bias=1 "
    "channels_last=1",
    "last_aligned_13x13": "channels=16>16 groups=16 input=7x8 kernel=13x13 padding=6x6 "
    "channels_last=1",
    "last_aligned_stride_2": "batch=2 channels=72>72 groups=72 input=9x22 kernel=3x5 stride=2x2 "
    "padding=1x2 bias=1 channels_last=1",
    "last_aligned_1d": "batch=3 channels=40>40 groups=40 input=67 kernel=4 padding=3 output=67 "
    "channels_last=1",
    "last_aligned_3d": "channels=16>16 groups=16 input=4x5x6 kernel=3x3x3 dilation=2x1x1 "
    "padding=2x1x1 padding_mode=circular channels_last=1",
    "last_aligned_fold": "channels=136>136 groups=136 input=5x9 kernel=3x3 padding=2x2 "
    "padding_mode=replicate channels_last=1",
    # Chunks of 16 bytes that lie in memory as a product takes them: both operands, one, in groups,
    # of positions, more than a tile of 128
    "chunks_1x1": "batch=2 channels=16>24 input=5x8 kernel=1x1 bias=1 channels_last=1",
    "chunks_3x3": "channels=16>8 input=7x6 kernel=3x3 padding=1x1 channels_last=1",
    "chunks_grouped": "channels=32>16 groups=2 input=9x8 kernel=1x1 stride=2x2 bias=1 "
    "channels_last=1",
    "chunks_of_positions": "batch=3 channels=5>7 input=8x8 kernel=1x1",
    "chunks_apart": "batch=3 channels=40>24 input=5x8 kernel=1x1",
    "chunks_many": "batch=2 channels=40>130 input=9x8 kernel=1x1 channels_last=1",
    # Winograd tiles of five taps: both sides of two outputs; beside axes of three taps and of one;
    # by strips; more axes; dilated, folded, turned
    "five_of_1_2": "batch=3 channels=15>16 input=1x2 kernel=5x5 padding=2x2 bias=1",
    "five_of_7_8": "batch=3 channels=17>15 input=7x8 kernel=5x5 padding=2x2 bias=1",
    "five_by_three": "batch=3 channels=9>18 input=9x6 kernel=5x3 padding=2x1 flip=1",
    "five_by_strips": "channels=96>80 input=3x4 kernel=5x5 padding=2x2 bias=1",
    "five_1d": "batch=2 channels=17>20 input=79 kernel=5 padding=4 output=79 bias=1",
    "five_3d": "batch=2 channels=3>5 input=6x7x8 kernel=5x5x5 padding=2x2x2 bias=1",
    "five_and_plain_axes": "batch=2 channels=9>7 input=6x5x7 kernel=3x1x5 padding=1x1x0 "
    "channels_last=1",
    "five_dilated_fold": "channels=5>9 input=12x11 kernel=5x5 dilation=2x3 padding=4x6 "
    "padding_mode=reflect",
    "five_grouped": "batch=2 channels=36>40 groups=2 input=9x10 kernel=5x5 padding=2x2 flip=1",
    # Of two and four taps: both sides of three outputs and of five; beside others
    "two_of_3_4": "batch=2 channels=17>15 input=4x5 kernel=2x2 bias=1",
    "two_of_5_6": "batch=3 channels=9>18 input=6x7 kernel=2x2 flip=1",
    "two_by_four": "batch=2 channels=9>33 input=9x11 kernel=2x4 padding=1x2 channels_last=1",
    "four_3d": "batch=4 channels=3>5 input=6x7x8 kernel=4x2x3 padding=2x1x1 bias=1",
    "four_dilated_fold": "channels=5>9 input=12x11 kernel=4x2 dilation=2x3 padding=4x6 "
    "padding_mode=reflect",
    # Under a stride: phases that fill vectors and that share them, short of a tap, of one tap, in
    # which a line ends; 1-d, mixed, more axes, folded, turned, in blocks
    "phases_5x5": "batch=2 channels=9>17 input=15x18 kernel=5x5 stride=2x2 padding=1x2 bias=1",
    "phases_of_3_channels": "batch=5 channels=3>9 input=16x17 kernel=4x4 stride=2x2 padding=1x1",
    "phases_of_one_axis": "batch=5 channels=12>7 input=13x9 kernel=5x3 stride=2x1 padding=2x1 "
    "flip=1",
    "phases_1d": "batch=2 channels=17>20 input=79 kernel=5 stride=2 padding=4 output=41 bias=1",
    "phases_3d": "batch=5 channels=3>5 input=7x8x9 kernel=3x4x5 stride=1x2x2 padding=1x1x2 bias=1",
    "phases_reflect": "batch=5 channels=5>9 input=12x11 kernel=5x6 stride=2x2 padding=2x4 "
    "padding_mode=reflect",
    "phases_circular": "batch=5 channels=8>9 input=12x11 kernel=5x7 stride=2x3 padding=2x6 "
    "padding_mode=circular bias=1",
    "phases_of_one_tap": "batch=4 channels=9>7 input=11x12 kernel=2x5 stride=3x2 padding=0x2 "
    "channels_last=1",
    "phases_grouped": "batch=2 channels=36>40 groups=2 input=9x10 kernel=6x6 stride=2x2 "
    "padding=2x3 output=5x6 flip=1",
    "phases_by_strips": "batch=3 channels=96>80 input=7x9 kernel=5x5 stride=2x2 padding=2x2 "
    "channels_last=1",
    # Of more taps than a tile has: blocks of three and of four, the last one short; turned, under
    # a stride, by strips; dilated: tiles of all interleaved problems lie side by side, or of some
    "blocks_1d": "batch=2 channels=17>20 input=79 kernel=7 padding=6 output=79 bias=1",
    "blocks_6x9": "batch=3 channels=9>18 input=12x13 kernel=6x9 padding=2x4 flip=1",
    "blocks_of_one_channel": "channels=1>3 input=17x18 kernel=7x8 padding=3x3 channels_last=1",
    "blocks_stride_2": "batch=3 channels=5>9 input=23x12 kernel=11x12 stride=2x2 padding=4x5 "
    "bias=1",
    "blocks_reflect": "batch=2 channels=20>9 input=3x40 kernel=1x10 padding=0x6 "
    "padding_mode=reflect",
    "blocks_by_strips": "batch=2 channels=96>80 input=3x14 kernel=3x6 padding=1x3 flip=1",
    "blocks_dilated": "batch=2 channels=17>9 input=140 kernel=7 dilation=19 padding=20 bias=1",
    "beside_2": "batch=3 channels=9>17 input=11x41 kernel=3x3 dilation=3x2 padding=3x2 bias=1",
    "beside_9": "batch=2 channels=18>7 input=5x60 kernel=3x4 dilation=1x9 padding=1x9 "
    "padding_mode=circular",
    "beside_40": "batch=2 channels=16>20 input=7x95 kernel=1x3 dilation=1x40 padding=0x40 "
    "channels_last=1",
    # Few positions, for which a weight is read where it lies: one pixel, chunks of the depth,
    # patches, groups, columns of two panels; and blocks of its gradient made where they are stored
    "few_pixels": "batch=3 channels=70>37 input=1x1 kernel=1x1 bias=1",
    "few_chunks": "batch=2 channels=701>19 input=2x3 kernel=1x1 bias=1",
    "few_patches": "batch=2 channels=9>21 input=4x5 kernel=2x2 stride=2x2 bias=1",
    "few_groups": "batch=5 channels=36>24 groups=2 input=1x1 kernel=1x1 bias=1",
    "few_last": "batch=2 channels=35>18 input=2x2 kernel=1x1 bias=1 channels_last=1",
    "few_deep": "batch=2 channels=61>27 input=5x6 kernel=3x3 padding=1x1 bias=1",
    "few_panels": "batch=22 channels=99>20 input=1x1 kernel=1x1",
    "kernel_is_deep_input": "batch=3 channels=24>18 input=4x4 kernel=4x4 bias=1",
    # A block that ends behind the first position of a line, which sees padding by its first tap
    "square_of_one": "channels=3>8 input=40x73 kernel=11x11 stride=4x4 padding=5x5",
    # Vectors of groups in planes: lines that fit in registers (4 .. 7) and that do not, taps in one
    # pass (1 .. 5, 7) and in several, in classes, apart; outputs that see nothing; bands of lines
    "whole_4": "batch=2 channels=33>33 groups=33 input=5x4 kernel=3x3 padding=1x1 bias=1",
    "whole_5": "channels=33>33 groups=33 input=4x5 kernel=2x5 padding=1x3 output=5x5",
    "whole_6": "channels=33>33 groups=33 input=7x6 kernel=3x9 padding=1x3 output=7x6",
    "whole_7": "batch=2 channels=33>33 groups=33 input=7x7 kernel=7x7 padding=3x3 bias=1",
    "whole_stride_2": "batch=2 channels=33>33 groups=33 input=14x14 kernel=5x5 stride=2x2 "
    "padding=2x2",
    "passes_8": "channels=33>33 groups=33 input=8x8 kernel=5x6 padding=2x2",
    "passes_23": "channels=9>9 groups=9 input=3x29 kernel=2x23 padding=1x11",
    "passes_stride_2": "channels=33>33 groups=33 input=9x21 kernel=3x7 stride=1x2 "
    "padding=1x3 bias=1",
    "passes_stride_3": "channels=9>9 groups=9 input=9x22 kernel=3x8 stride=2x3 padding=1x4",
    "passes_apart": "channels=9>9 groups=9 input=5x40 kernel=2x3 stride=1x2 dilation=2x3 "
    "padding=1x4",
    "passes_blind": "channels=9>9 groups=9 input=3x5 kernel=2x2 padding=4x9 output=9x21 bias=1",
    "bands_of_planes": "batch=2 channels=9>9 groups=9 input=150x60 kernel=3x3 padding=1x1 bias=1",
    "bands_of_stride_2": "batch=2 channels=9>9 groups=9 input=121x70 kernel=3x3 stride=2x2 "
    "padding=1x1",
    # Taps that slide over planes where they lie: both sides of 4, 7 and 8 lines and of a vector (2
    # .. 16 lanes); the first and the last plane, and those between; rows of 1 to 7 taps; lines in
    # classes, in bands, all in the padding; long lines, away from the edges and at them
    "in_place_3x15": "batch=2 channels=2>2 groups=2 input=3x15 kernel=3x3 padding=1x1 bias=1",
    "in_place_5x16": "batch=2 channels=3>3 groups=3 input=5x16 kernel=5x5 padding=2x2",
    "in_place_14x17": "batch=2 channels=2>4 groups=2 input=14x17 kernel=3x3 padding=1x1 bias=1",
    "in_place_16x33": "channels=3>3 groups=3 input=16x33 kernel=7x7 padding=3x3",
    "in_place_15x8": "channels=2>2 groups=2 input=15x8 kernel=6x4 padding=2x1 flip=1",
    "in_place_one_wide": "channels=2>2 groups=2 input=9x1 kernel=2x3 padding=1x1",
    "in_place_classes": "channels=2>2 groups=2 input=23x20 kernel=4x3 dilation=3x2 padding=4x2",
    "in_place_bands": "channels=2>2 groups=2 input=700x90 kernel=3x3 padding=1x1",
    "in_place_far": "channels=2>2 groups=2 input=3x9 kernel=3x3 padding=12x11 output=25x25 bias=1",
    "in_place_crop": "channels=2>2 groups=2 input=12x40 kernel=3x2 padding=-2x-5 output=7x30",
    "in_place_volume": "batch=2 channels=4>6 groups=2 input=5x9x18 kernel=3x3x3 stride=2x1x1 "
    "padding=2x1x1 bias=1",
    "in_place_long": "batch=2 channels=3>3 groups=3 input=517 kernel=4 padding=3 output=517 bias=1",
    "in_place_reach": "channels=2>2 groups=2 input=2x600 kernel=1x40 dilation=1x13 padding=0x250",
    "in_place_one_line": "channels=1>2 input=90000 kernel=5 padding=2",
    # Its input's gradient has more products than it has itself, enough for another thread
    "in_place_workers": "batch=2 channels=256>256 groups=16 input=3x4 kernel=2x3 padding=0x1 "
    "channels_last=1",
    # Short lines that go together, of fewer channels than lines: several axes, strides, edges
    "short_lines": "channels=2>5 input=3x40x5 kernel=3x3x3 padding=1x1x1",
    "short_lines_strided": "batch=2 channels=2>3 input=41x13 kernel=3x3 stride=2x2 padding=3x2 "
    "bias=1",
    # By weight, X as it was gathered: more rows than are packed at a time
    "pieces_of_rows": "channels=1>330 input=33x32 kernel=3x3 padding=1x1",
    "pieces_of_more_rows": "channels=1>500 input=33x32 kernel=3x3 padding=1x1",  # AVX-512
    # Windows in lines of channels: inside a line, at each edge, at both, beyond; vectors of 4
    # channels, 1 to 18 of them; rows of 3, 5 and 7 taps and what is left of 7; strides; folds
    "windows_3x7": "batch=2 channels=12>12 groups=12 input=3x31 kernel=3x7 padding=1x3 bias=1 "
    "channels_last=1",
    "windows_5x5": "channels=8>8 groups=8 input=9x37 kernel=5x5 padding=2x2 bias=1 channels_last=1",
    "windows_stride_2": "batch=2 channels=20>20 groups=20 input=13x35 kernel=3x3 stride=2x2 "
    "padding=1x1 channels_last=1",
    "windows_5_stride_2": "channels=44>44 groups=44 input=7x27 kernel=3x5 stride=1x2 padding=1x2 "
    "channels_last=1",
    "windows_reflect": "channels=8>8 groups=8 input=11x40 kernel=5x7 stride=1x2 padding=2x3 "
    "padding_mode=reflect channels_last=1",
    "windows_circular": "channels=4>4 groups=4 input=5x33 kernel=3x9 padding=1x4 "
    "padding_mode=circular flip=1 channels_last=1",
    "windows_crop": "channels=8>8 groups=8 input=12x30 kernel=3x3 padding=-2x-5 output=7x20 "
    "channels_last=1",
    "windows_far": "channels=4>4 groups=4 input=3x5 kernel=3x3 padding=12x11 output=25x25 bias=1 "
    "channels_last=1",
    "windows_volume": "channels=8>8 groups=8 input=5x6x9 kernel=3x2x5 stride=2x1x2 padding=1x0x2 "
    "channels_last=1",
    "windows_1d": "batch=3 channels=60>60 groups=60 input=45 kernel=8 padding=7 output=45 "
    "channels_last=1",
}

RESULTS = ("output", "input", "weight")


def line(name: str, result: str = "output", dtype: str = "float32") -> str:
    """The whole line of a named problem."""
    fields = PROBLEMS[name]
    if result != "output":
        fields = fields.replace(" bias=1", "")
    return f"{result} {dtype} {fields}"
