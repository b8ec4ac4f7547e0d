/** Claims about which fragments of matrix units kernels use. */
import { test } from "node:test";
import assert from "node:assert/strict";
import { fragmentSide, fragmentTraits } from "../lib/fragment.ts";

const own = { M: 16, N: 16, K: 16, componentType: "f16", resultComponentType: "f32" };
const eight = { ...own, M: 8, N: 8, K: 8 };

function traitsOf(subgroupMatrixConfigs?: unknown[]): string[] {
  return fragmentTraits({ info: { subgroupMatrixConfigs } } as unknown as GPUAdapter);
}

test("an adapter has the fragments that it lists, of the kinds that kernels use", () => {
  assert.deepEqual(traitsOf([{ ...own, N: 8 }, own]), ["fragments of 16"]);
  assert.deepEqual(traitsOf([eight, own]), ["fragments of 16", "fragments of 8"]);
  const wrong = [{ N: 8 }, { K: 8 }, { resultComponentType: "f16" }, { componentType: "u8" }];
  assert.deepEqual(traitsOf(wrong.map((part) => ({ ...own, ...part }))), []);
  assert.deepEqual(traitsOf(), []);
});

test("of the fragments that there are kernels use the largest", () => {
  const sides = [[own, eight], [eight], [{ ...own, N: 8 }]].map((configs) =>
    fragmentSide(new Set(traitsOf(configs)))
  );
  assert.deepEqual(sides, [16, 8, 0]);
});
