// SPDX-License-Identifier: Apache-2.0
//
// The pools' worker: gives the small value that the other rows give.

const ok = Uint8Array.of(0x6f, 0x6b);

export default (): Uint8Array => ok;
