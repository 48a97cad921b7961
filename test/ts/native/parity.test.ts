// SPDX-License-Identifier: Apache-2.0
// Goal: the contract in binding.ts and the C++ sides are one.
// Method: names and order of the interface against the addon's exports; numbers of the constants
// against the C++ headers.

import { readFileSync } from "node:fs";
import t from "tap";
import * as contract from "../../../ts/native/binding.ts";
import { loadNative } from "../../../ts/native/load.ts";

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), "utf8");

/** name -> number of a C++ enum, keys in camel case without the k. */
function cppEnum(path: string, name: string): Map<string, number> {
  const body =
    new RegExp(`enum class ${name} : \\w+ \\{([^}]*)\\}`).exec(
      read(path).replace(/\/\/.*$/gm, ""),
    )?.[1] ?? "";
  return new Map(
    [...body.matchAll(/k(\w+)\s*=\s*(\d+)/g)].map((match) => {
      const key = match[1] as string;
      return [key.charAt(0).toLowerCase() + key.slice(1), Number(match[2])];
    }),
  );
}

t.test("the addon exports the members of NativeBinding in the same order", async (t) => {
  const source = read("ts/native/binding.ts");
  const body = source.slice(source.indexOf("export interface NativeBinding"));
  const members = [...body.matchAll(/^ {2}(?:readonly )?(\w+)[(:]/gm)].map(
    (match) => match[1] as string,
  );
  t.same(Object.keys(loadNative()), members);
  t.ok(members.length > 50);
});

t.test("the constants have the numbers of the headers", async (t) => {
  const enums: [string, string, Readonly<Record<string, number>>][] = [
    ["native/client/client.h", "ObjectStatus", contract.ObjectStatus],
    ["native/client/client.h", "ActorPhase", contract.ActorPhase],
    ["native/client/client.h", "EventKind", contract.EventKind],
    ["native/wire/messages.h", "ReplyStatus", contract.ReplyStatus],
    ["native/wire/messages.h", "RayletOp", contract.RayletOp],
    ["native/wire/messages.h", "ControlOp", contract.ControlOp],
    ["native/store/layout.h", "CallKind", contract.CallKind],
    ["native/store/layout.h", "EndpointKind", contract.EndpointKind],
  ];
  for (const [path, name, ours] of enums) {
    const theirs = cppEnum(path, name);
    t.ok(theirs.size > 0, `${name} was found`);
    for (const [key, value] of Object.entries(ours)) {
      if (name === "EventKind" && value >= 64) continue; // the binding's own
      t.equal(theirs.get(key), value, `${name}.${key}`);
    }
    if (name !== "EndpointKind")
      t.equal(
        Object.values(ours).filter((value) => value < 64).length,
        theirs.size,
        `${name} is complete`,
      );
  }
});

t.test("the words of event records are those of pump.cc", async (t) => {
  const body = /enum Word : size_t \{([^}]*)\}/.exec(read("native/node_api/pump.cc"))?.[1] ?? "";
  const words = new Map<string, number>();
  let value = -1;
  for (const part of body
    .split(",")
    .map((text) => text.trim())
    .filter((text) => text !== "")) {
    const [, name, number] = /k(\w+)(?:\s*=\s*(\d+))?/.exec(part) as unknown as [
      string,
      string,
      string | undefined,
    ];
    value = number === undefined ? value + 1 : Number(number);
    words.set(name.charAt(0).toLowerCase() + name.slice(1), value);
  }
  for (const [key, at] of Object.entries(contract.Rec)) t.equal(words.get(key), at, `Rec.${key}`);
  const renamed: Record<string, string> = { returnCount: "returns", refCount: "refs" };
  for (const [key, at] of Object.entries(contract.CallRec)) {
    const name = renamed[key] ?? key;
    t.equal(words.get(`call${name.charAt(0).toUpperCase()}${name.slice(1)}`), at, `CallRec.${key}`);
  }
});
