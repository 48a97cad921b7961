// SPDX-License-Identifier: Apache-2.0
// Marks this worker's output with the name of what runs, and the process's title.
//
// The node service prefixes lines with `(name pid=123)`. Before output under a new name one mark line is written; nothing is
// written when there is no output. Console and process.stdout/stderr are covered; native prints go under the last name.

const mark = "\x1epolyray-name:";
let isOn = false;
let wanted = "";
let titled = "";

/** The name for output from now on. */
export function showName(name: string): void {
  if (!isOn) return; // the inline mode: this is the user's own process
  wanted = name;
  if (titled !== name) {
    titled = name;
    process.title = `polyray::${name}`;
  }
}

/** Hooks the two streams, once. */
export function markOutput(): void {
  isOn = true;
  for (const stream of [process.stdout, process.stderr]) {
    let shown = "";
    const write = stream.write.bind(stream) as (...args: unknown[]) => boolean;
    stream.write = ((...args: unknown[]) => {
      if (shown !== wanted) {
        shown = wanted;
        write(`${mark}${wanted}\n`);
      }
      return write(...args);
    }) as typeof stream.write;
  }
}
