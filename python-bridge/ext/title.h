// SPDX-License-Identifier: Apache-2.0
// The title of this process in `ps` and /proc. Does nothing where the kernel does not tell where it is kept.
#pragma once
#include <string>

namespace polyray::py {

// Cut to the length of the command line that the process was started with.
void set_process_title(const std::string& title);

}  // namespace polyray::py
