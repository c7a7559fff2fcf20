// How precise the planner must be: torchconv.set_precision, or torch's deterministic mode.
#pragma once

namespace torchconv {

void set_highest_precision(bool highest);
bool highest_precision();  // as set

// Whether a problem that is planned now asks for it.
bool wants_precise();

}  // namespace torchconv
