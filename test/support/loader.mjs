// SPDX-License-Identifier: Apache-2.0
//
// Loads TypeScript in the process of a test file, as --import=tsx does, and keeps the options of the test runner out of the
// processes that the test starts: tap's own imports cost a worker more CPU than its whole start. A worker loads tsx when it
// is given a TypeScript module (ts/core/user-module.ts); that a driver's loader goes along is tested by the programs that
// the tests start with one (test/ts/api/fixtures/driver.ts, test/ts/mixed).

import "tsx";

const ofTap = /^--import=\S*@tapjs|^--enable-source-maps$|^--import=\S*loader\.mjs$/;

process.execArgv = process.execArgv.filter((option) => !ofTap.test(option));

const inherited = (process.env.NODE_OPTIONS ?? "").split(" ").filter((option) => {
  return option !== "" && !ofTap.test(option.replaceAll('"', ""));
});
if (inherited.length === 0) delete process.env.NODE_OPTIONS;
else process.env.NODE_OPTIONS = inherited.join(" ");
