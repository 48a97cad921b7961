// SPDX-License-Identifier: Apache-2.0
//
// How the scripts talk: one line per step, an error with what to do. No dependency: these
// files run before anything is installed.

const color = process.stdout.isTTY && !process.env.NO_COLOR;
const paint = (code, text) => (color ? `\u001b[${code}m${text}\u001b[0m` : text);

/** Announces a step that takes time. */
export function step(text) {
  console.log(`${paint("36", "==>")} ${text}`);
}

/** A detail below a step. */
export function note(text) {
  console.log(`    ${text}`);
}

/** A mistake of the machine or the user: printed without a stack. */
export class SetupError extends Error {
  /** @param {string} message what is wrong  @param {string} [hint] what to do */
  constructor(message, hint) {
    super(message);
    this.hint = hint;
  }
}

/** Runs a script's main function; failures end it with code 1 and a readable message. */
export async function main(body) {
  try {
    const code = await body();
    process.exitCode = code ?? process.exitCode ?? 0;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(`${paint("31", "error:")} ${error.message}`);
    if (error.hint) console.error(`       ${error.hint}`);
    process.exitCode = 1;
  }
}
