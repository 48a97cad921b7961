// SPDX-License-Identifier: Apache-2.0
// Labels of a node, as `polyray start` takes them: `--labels a=b,c=d`, and a file of `key: value` lines (plain YAML) or JSON.

import { readFileSync } from "node:fs";
import { InvalidOptionError } from "../base/errors.ts";
import { isRecord } from "../core/checks.ts";

type Labels = Record<string, string>;

/** The labels of both flags; those of `--labels` win. */
export function labelsOf(text: string | undefined, file: string | undefined): Labels {
  return { ...(file === undefined ? {} : fromFile(file)), ...fromText(text ?? "") };
}

function fromText(text: string): Labels {
  const pairs = text.split(",").filter((pair) => pair.trim() !== "");
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf("=");
      if (at < 1)
        throw new InvalidOptionError(
          `[invalid option] --labels: "${pair.trim()}" is not key=value. For example: --labels region=eu,zone=a.`,
        );
      return [pair.slice(0, at).trim(), pair.slice(at + 1).trim()];
    }),
  );
}

function fromFile(path: string): Labels {
  const wrong = (why: string, cause?: unknown): InvalidOptionError =>
    new InvalidOptionError(
      `[invalid option] --labels-file ${path}: ${why}. It holds lines such as "region: eu", or a JSON object of texts.`,
      { cause },
    );
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw wrong((error as Error).message, error);
  }
  if (!text.trimStart().startsWith("{")) return fromLines(text, wrong);
  try {
    const value: unknown = JSON.parse(text);
    if (isRecord(value) && Object.values(value).every((one) => typeof one === "string"))
      return value as Labels;
  } catch (error) {
    throw wrong((error as Error).message, error);
  }
  throw wrong("a value is no text");
}

const line =
  /^(?:"([^"]+)"|'([^']+)'|([^\s#"'[{-][^#"']*?))\s*:\s+(?:"([^"]*)"|'([^']*)'|([^\s"'[{|>&*][^#]*?))\s*(?:\s#.*)?$/;

// YAML of one level. What is more than that is refused, not guessed.
function fromLines(text: string, wrong: (why: string) => InvalidOptionError): Labels {
  const labels: Labels = {};
  for (const [i, one] of text.split(/\r?\n/).entries()) {
    if (/^\s*(#.*)?$/.test(one) || /^---\s*$/.test(one)) continue;
    const found = line.exec(one);
    if (found === null) throw wrong(`line ${i + 1} is not "key: value"`);
    const [key, value] = [found.slice(1, 4), found.slice(4, 7)].map((forms) =>
      forms.find((form) => form !== undefined),
    );
    labels[String(key)] = String(value);
  }
  return labels;
}
