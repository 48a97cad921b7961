// SPDX-License-Identifier: Apache-2.0
// Goal: no two metrics of the table write lines of one name, whichever program made them and in whichever order.
// Method: reports as processes send them.

import t from "tap";
import { MetricsTable } from "../../../ts/gcs/metrics-table.ts";

function report(table: MetricsTable, kind: string, name: string): string | undefined {
  const boundaries = kind === "histogram" ? [1] : [];
  const cells = [{ tags: [], value: 1, counts: kind === "histogram" ? [1, 0] : null }];
  const { refused } = table.report({ metrics: [{ name, kind, boundaries, cells }] });
  return (refused as string[])[0];
}

t.test(
  "a metric named like a line of a histogram is refused, and the other way round",
  async (t) => {
    const table = new MetricsTable();
    t.equal(report(table, "histogram", "x"), undefined);
    for (const name of ["x_count", "x_sum", "x_bucket"])
      t.match(report(table, "counter", name), /the histogram x writes lines of the same name/);
    t.equal(report(table, "counter", "x_total"), undefined);
    t.equal(report(table, "gauge", "y_sum"), undefined);
    t.match(report(table, "histogram", "y"), /the gauge y_sum writes lines of the same name/);
    t.equal(report(table, "histogram", "x"), undefined, "the same again adds to it");
    t.same(
      table.families().map(({ name }) => name),
      ["x", "x_total", "y_sum"],
    );
  },
);

t.test("a histogram that would write a line of the runtime's own is refused", async (t) => {
  const own = { name: "tasks_count", kind: "gauge", help: "", samples: [] };
  const table = new MetricsTable(() => [own]);
  t.match(report(table, "histogram", "tasks"), /the runtime has one of that name/);
});
