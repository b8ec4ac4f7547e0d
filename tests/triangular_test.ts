/** Claims about lib/triangular.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { invertUpper, upperFactor } from "../lib/triangular.ts";
import { gramOf } from "./made_moments.ts";

/** A B of square matrices. */
function times(a: Float64Array, b: Float64Array, n: number): Float64Array {
  return Float64Array.from(a, (_, at) => {
    const i = Math.floor(at / n), j = at % n;
    let sum = 0;
    for (let k = 0; k < n; k++) sum += a[i * n + k] * b[k * n + j];
    return sum;
  });
}

function transposed(a: Float64Array, n: number): Float64Array {
  return a.map((_, at) => a[at % n * n + Math.floor(at / n)]);
}

function assertNear(a: Float64Array, b: Float64Array, tolerance: number): void {
  const worst = a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
  assert.ok(worst < tolerance, `off by ${worst}`);
}

for (const n of [1, 2, 7, 33]) {
  test(`R is upper triangular and R R^T is H at n = ${n}`, () => {
    const h = gramOf(n, 3 * n, n);
    const r = upperFactor(h, n)!;
    assert.ok(r.every((value, at) => at % n >= Math.floor(at / n) || value === 0));
    assertNear(times(r, transposed(r, n), n), h, 1e-12 * n); // H's numbers are about 1
  });

  test(`U^T U is the inverse of H at n = ${n}`, () => {
    const h = gramOf(n, 3 * n, n);
    const u = invertUpper(upperFactor(h, n)!, n);
    const identity = h.map((_, at) => at % (n + 1) === 0 ? 1 : 0);
    assertNear(times(h, times(transposed(u, n), u, n), n), identity, 1e-9); // condition below 1e4
  });
}

test("a matrix that is not positive has no factor", () => {
  assert.equal(upperFactor(Float64Array.of(1, 2, 2, 1), 2), null);
  assert.equal(upperFactor(Float64Array.of(0), 1), null);
  assert.equal(upperFactor(Float64Array.of(NaN), 1), null);
});
