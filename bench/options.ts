// SPDX-License-Identifier: Apache-2.0
//
// The command line of `npm run bench`.

import { parseArgs } from "node:util";
import { type GrowthRow, selectGrowth } from "./growth.ts";
import { type Row, selectRows } from "./table.ts";

/** Who runs the rows. */
export const ourNames = ["polyray-py", "polyray-ts", "polyray-ts-py"] as const;
/** Whom we compare with. */
export const peerNames = ["ray", "dask", "piscina", "tinypool", "postmessage"] as const;

/** Contestants: ours and the peers. */
export type Contestant = (typeof ourNames)[number] | (typeof peerNames)[number];

/** What a run of the benchmark does. */
export interface BenchOptions {
  readonly rows: readonly Row[];
  readonly growth: readonly GrowthRow[];
  readonly contestants: readonly Contestant[];
  readonly rounds: number;
  readonly warmupS: number;
  readonly windowS: number;
  readonly quick: boolean;
  readonly json: boolean;
  readonly write: boolean;
  /** What is run: the rows against peers, the growth curves of ours. */
  readonly parts: readonly ("rows" | "growth")[];
}

const usage = `npm run bench -- [options]
  --rows a,b      rows whose name contains a or b (default: all)
  --peer a,b      ${peerNames.join(", ")} or none (default: all)
  --lang a,b      py, ts, ts-py: driver (and worker, when another) (default: all)
  --rounds N      rounds; medians are shown (default: 3, with --quick 1)
  --window-s S    seconds measured per row and round (default: 2, with --quick 0.7)
  --quick         one round, short windows, smaller batches
  --growth        instead of the rows: what a unit of work costs as the load grows (py and ts)
  --json          results as JSON on standard output
  --write         rows and growth; writes bench/RESULTS.md and bench/plots/*.svg`;

const list = (text: string | undefined) =>
  (text ?? "")
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");

/** Reads the command line; null after --help. Throws an Error that says what is wrong. */
export function benchOptions(args: readonly string[]): BenchOptions | null {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rows: { type: "string" },
      peer: { type: "string" },
      lang: { type: "string" },
      rounds: { type: "string" },
      "window-s": { type: "string" },
      quick: { type: "boolean", default: false },
      growth: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      write: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return null;
  }
  if (values.growth && values.write) {
    throw new Error("--write runs the growth curves as well: leave --growth out");
  }
  const names = list(values.rows);
  const rows = selectRows(names);
  const growth = selectGrowth(names);
  const nothing = (values.growth ? growth : rows).length === 0;
  if (nothing) throw new Error(`no row's name contains '${values.rows}'`);
  const windowS = Number(values["window-s"] ?? (values.quick ? 0.7 : 2));
  const rounds = Number(values.rounds ?? (values.quick ? 1 : 3));
  if (!(windowS > 0) || !Number.isInteger(rounds) || rounds < 1) {
    throw new Error("--rounds takes a whole number from 1, --window-s a number above 0");
  }
  return {
    rows,
    contestants: contestants(list(values.lang), list(values.peer)),
    rounds,
    windowS,
    warmupS: windowS / 2,
    quick: values.quick,
    json: values.json,
    write: values.write,
    growth,
    parts: values.growth ? ["growth"] : values.write ? ["rows", "growth"] : ["rows"],
  };
}

function contestants(languages: readonly string[], peers: readonly string[]): Contestant[] {
  const ours = languages.map((name) => `polyray-${name}`);
  const unknown = [
    ...ours.filter((name) => !ourNames.includes(name as never)),
    ...peers.filter((name) => name !== "none" && !peerNames.includes(name as never)),
  ];
  if (unknown.length > 0) throw new Error(`unknown: ${unknown.join(", ")}\n${usage}`);
  // Peers stand between ours, so that both see the same state of the machine.
  const order: readonly Contestant[] = [
    "ray",
    "polyray-py",
    "dask",
    "piscina",
    "polyray-ts",
    "tinypool",
    "postmessage",
    "polyray-ts-py",
  ];
  return order.filter((name) =>
    name.startsWith("polyray")
      ? ours.length === 0 || ours.includes(name)
      : peers.length === 0 || peers.includes(name),
  );
}
