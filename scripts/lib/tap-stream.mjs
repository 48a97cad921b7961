// SPDX-License-Identifier: Apache-2.0
//
// Reads the TAP stream of a tap run line by line: prints one line per test file as it ends, all
// of a file's lines when it failed, and counts. What counts as a test is a point one level below
// the file, which is a t.test(...) or a bare assertion; a file that failed without a failed
// point (crash, timeout, bad plan) is one failure.

const point = /^( {4})?(not ok|ok) \d+/;

/** Feed lines to `line`; `end()` gives { passed, failed, skipped }. */
export function tapStream(print = console.log) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  let held = [];
  let inFile = { passed: 0, failed: 0, skipped: 0 };

  const endFile = (text, ok) => {
    if (!ok && inFile.failed === 0) inFile.failed += 1;
    if (!ok) for (const line of held) print(line);
    const shown = text.replace(/^(not ok|ok) \d+ - /, "").replace(/ # time=.*| \{$/, "");
    print(
      `${ok ? "ok    " : "FAILED"} ${shown} (${inFile.passed} passed, ${inFile.failed} failed, ${inFile.skipped} skipped)`,
    );
    for (const key of Object.keys(total)) total[key] += inFile[key];
    inFile = { passed: 0, failed: 0, skipped: 0 };
    held = [];
  };

  return {
    line(text) {
      const found = point.exec(text);
      if (found === null) {
        held.push(text);
      } else if (found[1] === undefined) {
        endFile(text, found[2] === "ok");
      } else {
        held.push(text);
        if (/ # (skip|todo)\b/i.test(text)) inFile.skipped += 1;
        else if (found[2] === "ok") inFile.passed += 1;
        else inFile.failed += 1;
      }
    },
    end() {
      for (const line of held) if (!/^\s*$|^1\.\.|^#|^TAP /.test(line)) print(line);
      return total;
    },
  };
}
