/** Claims about lib/row_descent.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  applyChange,
  bestMultiple,
  type Change,
  changeOfError,
  moveColumn,
  noChange,
  type RowDescent,
  rowDescent,
  settle,
} from "../lib/row_descent.ts";
import { gramOf } from "./made_moments.ts";
import { fill, normal } from "./random.ts";

const cols = 13, h = gramOf(cols, 40, 1); // odd: sums go in twos

/** A row with errors. */
function started(): RowDescent {
  const row = rowDescent(h, cols);
  row.d.set(fill(cols, normal(2)));
  settle(row);
  return row;
}

/** d H d^T as it is written. */
function energy({ d }: Pick<RowDescent, "d">): number {
  let sum = 0;
  for (let i = 0; i < cols; i++) {
    for (let j = 0; j < cols; j++) sum += d[i] * h[i * cols + j] * d[j];
  }
  return sum;
}

function change(columns: number[], by: number[]): Change {
  const made = noChange(cols);
  made.columns.set(columns);
  made.by.set(by);
  made.count = columns.length;
  return made;
}

const close = (a: number, b: number) => assert.ok(Math.abs(a - b) < 1e-9, `${a}, ${b}`);

test("a change is told by what it adds to the error", () => {
  const row = started(), before = energy(row), made = change([1, 4, 12], [0.5, -1, 2]);
  const told = changeOfError(row, made);
  applyChange(row, made);
  close(told, energy(row) - before);
});

test("after changes H d is what it would be if it were worked out anew", () => {
  const row = started();
  applyChange(row, change([0, 12], [3, -1]));
  moveColumn(row, 5, 0.25);
  const anew = rowDescent(h, cols);
  anew.d.set(row.d);
  settle(anew);
  anew.r.forEach((value, j) => close(row.r[j], value));
});

test("no multiple of v leaves less than the best one, after another change as well", () => {
  const v = change([2, 3, 7], [1, -2, 0.5]), made = change([3, 9], [1, 1]);
  for (const first of [null, made]) {
    const row = started(), best = bestMultiple(row, v, first);
    if (first) applyChange(row, first);
    const left = [best - 0.01, best, best + 0.01].map((times) => {
      const d = row.d.slice();
      for (let i = 0; i < v.count; i++) d[v.columns[i]] += times * v.by[i];
      return energy({ d });
    });
    assert.ok(left[1] < left[0] && left[1] < left[2], left.join(" "));
  }
});

test("of no levels, and of inputs that are never felt, no multiple is best", () => {
  assert.equal(bestMultiple(started(), noChange(cols)), 0);
  const still = rowDescent(new Float64Array(cols * cols), cols);
  assert.equal(bestMultiple(still, change([1], [1])), 0);
});
