import { test } from "node:test";
import assert from "node:assert/strict";
import { type Option, spend } from "../lib/budget.ts";
import { uniform } from "./random.ts";

const options = (...pairs: [number, number][]): Option[] =>
  pairs.map(([cost, loss]) => ({ cost, loss }));

test("the step that saves most for what it costs comes first", () => {
  const items = [options([1, 9], [2, 1]), options([1, 2], [2, 1])];
  assert.deepEqual([2, 3, 4].map((budget) => spend(items, budget)), [[0, 0], [1, 0], [1, 1]]);
});

test("a step that saves much at once is not missed behind one that saves little", () => {
  assert.deepEqual(spend([options([1, 10], [2, 9.9], [3, 1])], 3), [2]);
});

test("an option that costs more and loses more is never taken", () => {
  assert.deepEqual(spend([options([1, 5], [2, 6], [3, 4])], 2), [0]);
});

test("a budget below the cheapest is none", () => {
  assert.equal(spend([options([1, 1]), options([2, 1])], 2.9), null);
});

test("what is chosen fits the budget, and no single step that saves would", () => {
  const next = uniform(1);
  for (let round = 0; round < 50; round++) {
    const items = Array.from(
      { length: 6 },
      () => Array.from({ length: 5 }, () => ({ cost: 1 + next(), loss: next() })),
    );
    const chosen = spend(items, 8.5)!;
    if (chosen === null) continue;
    const cost = chosen.reduce((sum, option, i) => sum + items[i][option].cost, 0);
    assert.ok(cost <= 8.5);
    for (const [i, all] of items.entries()) {
      const now = all[chosen[i]];
      const missed = all.find(({ cost: other, loss }) =>
        loss < now.loss && cost - now.cost + other <= 8.5 - 1e-9
      );
      assert.equal(missed, undefined);
    }
  }
});
