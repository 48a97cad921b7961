// SPDX-License-Identifier: Apache-2.0
//
// Keeps the static library valid while [core] of native/sources.txt is empty.
