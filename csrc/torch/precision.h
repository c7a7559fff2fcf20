// How precise the planner must be: torchconv.set_precision, or torch's deterministic mode.
#pragma once

namespace torchconv {

void set_highest_precision(bool highest);
bool highest_precision();  // as set

// Whether float32 convolutions on a GPU may multiply in TF32: where torch.backends.cudnn lets torch's
// own, and the highest precision is not asked for.
bool allows_tf32();

// Whether a problem that is planned now asks for it.
bool wants_precise();

}  // namespace torchconv
