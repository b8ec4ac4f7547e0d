import { test } from "node:test";
import assert from "node:assert/strict";
import { forward, type Ops } from "../lib/ops.ts";

/** Operations that write down what they are asked for. */
function scribe(): { ops: Ops<string, string, string>; lines: string[] } {
  const lines: string[] = [];
  const say = (line: string) => {
    lines.push(line);
    return `(${line})`;
  };
  return {
    lines,
    ops: {
      embed: (table) => say(`embed ${table}`),
      norm: (x, gain, options) => say(`${options?.last ? "last " : ""}norm ${x} ${gain}`),
      linear: (w, x) => say(`${w} ${x}`),
      addLinear: (w, x, into) => void say(`${into} += ${w} ${x}`),
      gatedLinear: (w, x) => say(`silu ${w} ${x}`),
      rotate: (qkv, layer, gains) => void say(`rotate ${layer} ${qkv} ${gains?.q ?? "plain"}`),
      attention: (qkv, layer) => say(`attention ${layer} ${qkv}`),
    },
  };
}

const layer = {
  attentionNorm: "n1",
  qkv: "Wqkv",
  headNorms: null,
  output: "Wo",
  mlpNorm: "n2",
  gateUp: "Wg",
  down: "Wd",
};

test("forward() is the LLaMA layer, told in operations", () => {
  const { ops, lines } = scribe();
  const y = forward(ops, { embedding: "E", layers: [layer], norm: "n", head: "H" }, { last: true });
  assert.deepEqual(lines, [
    "embed E",
    "norm (embed E) n1",
    "Wqkv (norm (embed E) n1)",
    "rotate 0 (Wqkv (norm (embed E) n1)) plain",
    "attention 0 (Wqkv (norm (embed E) n1))",
    "(embed E) += Wo (attention 0 (Wqkv (norm (embed E) n1)))",
    "norm (embed E) n2",
    "silu Wg (norm (embed E) n2)",
    "(embed E) += Wd (silu Wg (norm (embed E) n2))",
    "last norm (embed E) n",
    "H (last norm (embed E) n)",
  ]);
  assert.equal(y, "(H (last norm (embed E) n))");
});

test("norms of heads reach the rotation of their layer", () => {
  const { ops, lines } = scribe();
  const layers = [layer, { ...layer, headNorms: { q: "nq", k: "nk" } }];
  forward(ops, { embedding: "E", layers, norm: "n", head: "H" }, { last: false });
  assert.deepEqual(lines.filter((l) => l.startsWith("rotate")).map((l) => l.split(" ").at(-1)), [
    "plain",
    "nq",
  ]);
});
