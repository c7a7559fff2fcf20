// Marks what kernels on a GPU call too. Nothing, for any other compiler than nvcc.
#pragma once

#ifdef __CUDACC__
#define TORCHCONV_HOST_DEVICE __host__ __device__
#else
#define TORCHCONV_HOST_DEVICE
#endif
