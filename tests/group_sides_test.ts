import { test } from "node:test";
import assert from "node:assert/strict";
import { format } from "../lib/format.ts";
import { eachGroup, gather, sidesOf } from "../lib/group_sides.ts";

const w = Float32Array.of(1, -2, 0, 3, -4);
const counted = ({ x, count }: { x: Float64Array; count: number }) => [...x.subarray(0, count)];

test("two scales: weights above 0, and sizes of those below", () => {
  const sides = sidesOf({ rows: 1, cols: 5, group: "row", format: format("nf4-asym") });
  gather(w, 1, 5, sides);
  assert.deepEqual(sides.map(counted), [[0, 3], [2, 4]]);
});

test("one scale, or a zero-point: all weights as they are", () => {
  for (const name of ["nf4-sym", "int4-asym"]) {
    const sides = sidesOf({ rows: 1, cols: 5, group: "row", format: format(name) });
    gather(w, 0, 5, sides);
    assert.deepEqual(sides.map(counted), [[1, -2, 0, 3, -4]], name);
  }
});

test("eachGroup() goes through rows, and ends a row's last group with the row", () => {
  const seen: number[][] = [];
  eachGroup({ rows: 2, cols: 40, group: 32, format: format("nf4-sym") }, (...at) => seen.push(at));
  assert.deepEqual(seen, [[0, 32, 0, 0], [32, 40, 0, 1], [40, 72, 1, 0], [72, 80, 1, 1]]);
});
