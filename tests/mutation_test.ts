/**
 * Whether the kernel tests would notice: every kernel is broken in one place at a time, and one of
 * linear_test.ts's claims must then fail on the first device that is present.
 *
 * A mutation is the text of its kernel with `find` replaced by `put`, handed to the device in place of
 * the real one. Changes that no result can show are not listed: reading a clamped row that is never
 * written, `>=` for `>` at a level of 0, summing 15 steps before 16.
 *
 * MUTATIONS=no leaves them out, as a second runtime has nothing to add.
 */

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import type { Device } from "../lib/device.ts";
import { loadModel } from "../lib/llama.ts";
import { tokenLoss, top } from "../lib/pointwise_reference.ts";
import { oracleLogits } from "./llama_oracle.ts";
import { CONFIGS, madeWeights, writeModel } from "./made_models.ts";
import { fill, normal } from "./random.ts";
import { present } from "./gpu_devices.ts";
import { testUnless } from "./test_unless.ts";
import * as linear from "../lib/linear.ts";
import * as reference from "../lib/linear_reference.ts";
import {
  asGpu,
  denseAgrees,
  denseWeights,
  dequantiseAgrees,
  matmulAgrees,
  matvecAgrees,
  tokens,
  weights,
  within,
} from "./linear_cases.ts";

type Claim = (device: Device) => Promise<void>;

const matvec = (name: string, batch = 1): Claim => (device) =>
  matvecAgrees(device, weights(5, 93, name, 16), { batch });
const longMatvec: Claim = (device) => matvecAgrees(device, weights(4, 8192, "fp4-asym", 256));
const plain = (device: Device): Device => {
  return { ...device, gpu: { ...device.gpu!, features: new Set<string>() } };
};
const matmul = (name: string, batch = 3): Claim => (device) =>
  matmulAgrees(plain(device), weights(33, 93, name, 16), batch);
const longMatmul: Claim = (device) =>
  matmulAgrees(plain(device), weights(4, 1100, "fp4-sym", 256), 3);
const quads = (name: string, batch = 3): Claim => (device) =>
  matmulAgrees(device, weights(33, 93, name, 16), batch);
const longQuads: Claim = (device) => matmulAgrees(device, weights(4, 4500, "fp4-sym", 256), 3);
const bigQuads: Claim = (device) => matmulAgrees(device, weights(130, 300, "fp4-sym", 256), 3);
const biasedQuads: Claim = (device) =>
  matmulAgrees(device, weights(4, 4500, "fp4-sym", 256), 3, { biased: true });
/** The same where lanes look levels up in arrays of their own: subgroups narrower than eight. */
const narrow = (name: string): Claim => (device) =>
  quads(name)({ ...asGpu(device), software: true });
const dequantise: Claim = (device) => dequantiseAgrees(device, weights(5, 93, "fp4-asym", 16));
const coded = (name: string, scales: string, product = matvecAgrees): Claim => (device) =>
  product(device, weights(5, 93, name, 16, scales));
const three = (as: (device: Device) => Device): typeof matvecAgrees => (device, q) =>
  matmulAgrees(as(device), q, 3);
const dense = (dtype: "F32" | "F16" | "BF16", batch = 1, cols = 93): Claim => (device) =>
  denseAgrees(device, denseWeights(5, cols, dtype), batch);
const flushing: Claim = (device) =>
  matvec("fp4-asym")({ ...device, gpu: { ...device.gpu!, f16Subnormals: false } });
const treeReduction: Claim = (device) => network("llama")(plain(device));
/** As on a GPU: activations staged, four lines a workgroup, more lanes than units. */
const staged = (name: string, batch = 1): Claim => (device) =>
  matvecAgrees(asGpu(device), weights(40, 2200, name, 64), { batch });
/** Rows so few and long that they are cut into parts. */
const inParts: Claim = (device) =>
  matvecAgrees(asGpu(device), weights(3, 8200, "fp4-sym", 256), { biased: true });

/** Rows in slices, with a bias: each slice writes and adds at its own rows. */
const slices: Claim = async (device) => {
  const q = weights(33, 93, "fp4-asym", 32);
  const bias = fill(33, normal(1));
  const x = tokens(2, 93);
  const y = await linear.matvec(device, await linear.load(device, q, 20), x, { bias });
  within(y, reference.matvec(q, x, { bias }), reference.matvecBound(q, x).map((b) => b + 1e-6));
};

/** A whole small network against the oracle: its own kernels are broken one by one. */
const network =
  (name: string, act: "all" | "steps" | "top" | "losses" = "all"): Claim => async (device) => {
    const config = { ...CONFIGS[name], num_hidden_layers: 1 };
    const tensors = madeWeights(config, 9);
    const folder = await mkdtemp(join(tmpdir(), "afpq-mutation-"));
    try {
      await writeModel(folder, config, tensors);
      const logits = oracleLogits(config, tensors, IDS);
      const model = await loadModel(device, folder, { kv: "f32" });
      if (act === "top") {
        const wanted = top(Float32Array.from(logits.at(-1)!), 4);
        assert.deepEqual([...(await model.top(IDS, 4)).ids], [...wanted]);
      } else if (act === "steps") {
        for (const [i, id] of IDS.entries()) {
          const wanted = Float32Array.from(logits[i]);
          within(await model.logits([id]), wanted, Float64Array.from(wanted, () => 1e-3));
        }
      } else {
        const flat = Float32Array.from(logits.flat());
        const wanted = act === "all" ? flat : tokenLoss(flat, [...IDS.slice(1), 0]).subarray(0, -1);
        const got = act === "all" ? await model.allLogits(IDS) : await model.losses(IDS);
        within(got, wanted, Float64Array.from(wanted, () => 1e-3));
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  };
/** The same as a GPU runs it. */
const asGpuNetwork: Claim = (device) => network("qwen3, q and k norms")(asGpu(device));
const IDS = [1, 7, 100, 23, 23, 54, 0, 99, 12, 40, 3, 77, 8, 61, 5, 2, 90, 31, 44];

/** What is replaced by what, and the claim that must notice. */
const MUTATIONS: [find: string, put: string, claim: Claim][] = [
  // coded scales
  ["+ select(0u, 2u, ROW_FACTOR)", "", coded("nf4-asym", "e1m3-row")],
  ["coded_scale(codes >> SCALE_BITS)", "coded_scale(codes)", coded("nf4-asym", "e1m3-row")],
  ["group * PAIR_BITS % 8u", "0u", coded("nf4-sym", "e1m3-tensor")],
  ["extractBits(codes, 0u, SCALE_BITS)", "codes", coded("nf4-asym", "e1m3-row")],
  ["return codebook.shared_factor", "return 1.0", coded("nf4-asym", "e1m3-tensor")],
  ["sum *= row_factor(my_row)", "", coded("nf4-asym", "e1m3-row", three(plain))],
  ["scaled *= row_factor(row)", "", coded("nf4-asym", "e1m3-row", three((device) => device))],
  [
    "select(factor, 1.0, SCALING == 2u)",
    "factor",
    coded("int4-asym", "e1m3-row", dequantiseAgrees),
  ],
  // codes to levels
  ["halves(word & 0x8e008e00u)", "halves(word & 0x0e000e00u)", matvec("fp4-asym")],
  ["(word << 3u) & 0x8e008e00u", "(word << 2u) & 0x8e008e00u", matvec("fp4-asym")],
  ["(word << 6u) & 0x0e000e00u", "(word << 5u) & 0x0e000e00u", matvec("fp4-asym")],
  ["(word << 6u) & 0x0e000e00u", "(word << 6u) & 0x0c000e00u", matmul("fp4-sym")],
  ["(word << 1u) & 0x80008000u", "(word << 2u) & 0x80008000u", dequantise],
  ["(word << 9u) & 0x0e000e00u", "(word << 9u) & 0x0e000600u", dequantise],
  ["(word << 8u) & 0x8c008c00u", "(word << 10u) & 0x8c008c00u", matvec("fp3-asym")],
  ["(a << 1u) & 0xa0a0a0a0u", "(a << 1u) & 0xa0a0a080u", matvec("fp3-asym")],
  ["(b >> 3u) & 0x0a0a0a0au", "(b >> 4u) & 0x0a0a0a0au", matmul("fp3-asym")],
  ["(b >> 24u) << 8u", "(b >> 24u) << 9u", matvec("nf3-sym")],
  ["extractBits(word, 2u * BITS * k", "extractBits(word, 8u * k", staged("nf3-sym")],
  ["2u * BITS * k, 2u * BITS)", "2u * BITS * k, 7u)", matmul("nf4-sym")],
  ["table_level(extractBits(i / COPIES, BITS, BITS))", "table_level(i % 8u)", staged("nf4-asym")],
  ["levels[code / 4u][code % 4u]", "levels[code % 4u][code / 4u]", staged("nf4-asym")],
  ["i < COPIES << (2u * BITS); i += lanes", "i < 200u; i += lanes", staged("nf4-asym")],
  ["+ (112u << 23u)", "+ (113u << 23u)", flushing],
  ["magnitude < 2u)", "magnitude < 1u)", flushing],
  ["select(1.0, -1.0, bits > 0x7fffu)", "1.0", flushing],
  // scales
  ["unpack2x16float(scales[at])", "unpack2x16float(scales[at / 2u])", matvec("fp4-asym")],
  [
    "select((GROUPS + 1u) & ~1u, GROUPS",
    "select(GROUPS, GROUPS",
    (device) => matvecAgrees(device, weights(5, 93, "fp4-sym", 32)),
  ],
  ["(at & 1u) == 1u", "(at & 1u) == 0u", matvec("fp4-sym")],
  ["vec4f(scale.y), vec4f(scale.x), level", "vec4f(scale.x), vec4f(scale.y), level", dequantise],
  ["(level - scale.y) * scale.x", "(level - scale.y - 1.0) * scale.x", matmul("int4-asym")],
  ["v.hi - scale.y", "v.hi", matvec("int4-asym")],
  // matvec
  ["* (scale.x - scale.y)", "* (scale.y - scale.x)", matvec("fp4-asym")],
  ["select(1.0, 0.5, SCALING == 1u)", "1.0", matvec("fp4-asym")],
  ["add_four(abs(v.hi), hi", "add_four(v.hi, hi", matvec("fp4-asym")],
  ["let sum = low + high;", "let sum = low;", matvec("fp4-sym", 2)],
  ["min(group + 1u, GROUPS - 1u)", "group", matvec("fp4-asym")],
  ["group_sum(words, 2u, 2u", "group_sum(words, 0u, 2u", matvec("fp4-asym")],
  ["first += SPAN * SPLIT;", "first += SPAN + 1u;", longMatvec],
  ["total[i] += recent[i];", "total[i] = recent[i];", longMatvec],
  ["(token * UNITS + min(unit, UNITS - 1u))", "min(unit, UNITS - 1u)", matvec("fp4-sym", 2)],
  ["vec4f(0.0), four, unit < UNITS", "four, four, unit < UNITS", matvec("fp4-sym")],
  ["codebook.factor.x * once, codebook", "once, codebook", matvec("fp4-sym")],
  // matvec as GPUs take it
  ["stage[9u * SPAN * token + home + i]", "stage[9u * SPAN * token + home]", staged("fp4-sym")],
  ["let seat = lane + lane / 8u;", "let seat = lane;", staged("fp4-sym")],
  ["i + i / 8u + seat", "i + seat", staged("fp4-sym")],
  ["9u * SPAN * token + home + i]", "home + i]", staged("fp4-sym", 2)],
  ["else { stage[to] = vec4f(0.0); }", "", staged("fp4-asym")],
  ["8u * (token * UNITS + first) + lane", "8u * first + lane", staged("fp4-sym", 2)],
  ["workgroupBarrier();\n      }\n      take", "}\n      take", staged("nf4-sym")],
  // rows and lanes, and parts of a row
  ["i % OUTPUTS + OUTPUTS", "i % OUTPUTS", network("llama", "steps")],
  ["r / OUTPUTS * (ROWS / 2u)", "r / OUTPUTS * ROWS", network("llama", "steps")],
  ["i < SPAN; i += 8u", "i < 8u; i += 8u", staged("fp4-sym")],
  ["j < min(i + 8u, SPAN)", "j < min(i + 7u, SPAN)", longMatvec],
  ["let line = i / OUTPUTS % LINES;", "let line = i / OUTPUTS % 2u;", staged("fp4-sym")],
  ["bias_of(FIRST_ROW + row)", "bias_of(row)", slices],
  ["token * OUT_ROWS + FIRST_ROW + row;", "token * OUT_ROWS + row;", slices],
  ["y[part * BATCH * OUT_ROWS + at]", "y[at]", inParts],
  ["part < SPLIT; part++", "part + 1u < SPLIT; part++", inParts],
  ["bias_of(row);", "bias_of(0u);", inParts],
  // reductions
  ["select(vec4f(0.0), sum, place == 0u)", "sum", network("llama")],
  ["i < WORKGROUP; i += width", "i < width; i += width", network("llama")],
  ["var apart = WORKGROUP / 2u", "var apart = WORKGROUP / 8u", treeReduction],
  ["partial[lane + apart]; }", "partial[lane]; }", treeReduction],
  // matmul
  ["32u * (tile / tiles)", "32u * (tile % tiles)", matmul("fp4-sym", 33)],
  ["unit * 32u + side * 16u", "unit * 32u", matmul("fp4-asym")],
  ["words[2u + i], side == 1u", "words[2u + i], side == 0u", matmul("fp4-sym")],
  ["tile_w[9u * (across + 8u) + k]", "tile_w[9u * (across + 9u) + k]", matmul("fp4-sym")],
  ["tile_x[9u * (down + 8u * j) + k]", "tile_x[9u * down + k]", matmul("fp4-sym", 33)],
  ["k < 8u; k++", "k < 7u; k++", matmul("fp4-sym")],
  ["      sums[j] += pending[j];\n", "", longMatmul],
  ["    workgroupBarrier();\n    multiply", "    multiply", matmul("fp4-sym", 33)],
  // matmul for devices that are a CPU
  ["quadSwapY(mine), ", "quadSwapX(mine), ", quads("fp4-sym", 8)],
  ["token + (place ^ 3u)", "token + (place ^ 2u)", quads("fp4-sym", 8)],
  ["first + own % 4u);\n", "first + own % 2u);\n", quads("fp4-sym")],
  ["min(mine + 4u * quad, step.x - 1u)", "min(mine, step.x - 1u)", quads("fp4-sym", 8)],
  ["b.lo * lo + b.hi * hi", "b.lo * lo + b.lo * hi", bigQuads],
  ["GROUP < 32u && i == 2u", "GROUP < 32u && i == 3u", quads("fp4-asym")],
  ["GROUPS - 1u));\n      t =", "GROUPS - 2u));\n      t =", quads("fp4-asym")],
  [
    "    s = load_pairs(low, min(group + 1u",
    "    s = load_pairs(low, min(group",
    quads("fp4-asym"),
  ],
  ["TOKENS * (tile / tiles)", "TOKENS * (tile % tiles)", quads("fp4-sym", 33)],
  ["block[2u * quad + 1u] += pending[2u * quad + 1u];", "", bigQuads],
  ["  pending[2u * quad] = mat4x4f();", "", longQuads],
  ["    block[i] = mat4x4f();\n", "", longQuads],
  ["ADD || (UNITS > 64u && more)", "ADD", longQuads],
  ["select(bias[at], 0.0, more)", "bias[at]", biasedQuads],
  ["(moved & select(0x01800000u", "(moved & select(0x01c00000u", quads("fp3-sym")],
  ["above - abs(above)", "above", quads("fp4-sym")],
  ["select(-scale.x, -scale.y, SCALING == 1u)", "-scale.x", quads("fp4-asym")],
  ["weight(word, 22, 13u, s)", "weight(word, 22, 12u, s)", quads("fp4-asym")],
  ["weight(word, -1, 29u, s)", "weight(word, 0, 29u, s)", quads("fp3-asym")],
  ["(127u - BITS * j)", "(128u - BITS * j)", narrow("nf4-asym")],
  ["word >> (4u * BITS)", "word >> (3u * BITS)", narrow("nf3-sym")],
  ["i < 16u; i++) { levels", "i < 15u; i++) { levels", narrow("nf4-sym")],
  // dequantise
  ["column / 16u % 2u * 2u", "column / 32u % 2u * 2u", dequantise],
  ["whole_scales(row, column / GROUP)", "whole_scales(row, column / 32u)", dequantise],
  // dense
  [
    "bitcast<f32>(pair * 0x10000u), bitcast",
    "bitcast<f32>(pair * 0x8000u), bitcast",
    dense("BF16"),
  ],
  ["pair & 0xffff0000u", "pair & 0xfff00000u", dense("BF16", 3)],
  ["weights[2u * at + 1u]", "weights[2u * at]", dense("F32")],
  ["row * EIGHTS + eight", "row * EIGHTS", dense("F16", 3)],
  ["eight += SPAN * SPLIT;", "eight += SPAN + 1u;", dense("F16", 1, 4096)],
  ["fma(w.hi.w, hi.w, ", "(", dense("F16")],
  ["4u * unit + part", "4u * unit", (device) => dense("F16", 3)(plain(device))],
  [
    "transpose(mat4x4f(a.hi, b.hi, c.hi, d.hi))",
    "transpose(mat4x4f(a.lo, b.hi, c.hi, d.hi))",
    dense("F16", 3),
  ],
  ["near += 16u", "near += 17u", dense("F16", 3, 300)],
  ["ADD || (EIGHTS > 256u && more)", "ADD", dense("F16", 3, 2100)],
  // a network's own
  ["sum / f32(COLS) + EPSILON", "sum / f32(COLS)  + 0.1", network("llama")],
  ["scale * gain[i]", "scale + gain[i]", network("llama")],
  ["8u * eight + i] = select(row.hi", "8u * eight + i] = select(row.lo", network("llama")],
  ["vector[d + half] * turn.y", "vector[d + half] * turn.x", network("llama")],
  ["let position = step.y + token;", "let position = token + 1u;", network("llama")],
  [
    "select(k_gain[d], q_gain[d], is_query)",
    "select(q_gain[d], k_gain[d], is_query)",
    network("qwen3, q and k norms"),
  ],
  ["QK_NORM && !is_value", "QK_NORM", network("qwen3, q and k norms")],
  ["(head - HEADS) % KV_HEADS", "0u", network("llama")],
  ["head / (HEADS / KV_HEADS)", "head % KV_HEADS", network("llama")],
  [
    "last + 1u - min(WINDOW, last + 1u)",
    "last - min(WINDOW, last)",
    network("mistral, sliding window", "steps"),
  ],
  [
    "own + 1u - min(WINDOW, own + 1u)",
    "own - min(WINDOW, own)",
    network("mistral, sliding window"),
  ],
  ["tile_own - min(WINDOW, tile_own)", "tile_own - 1u", network("mistral, sliding window")],
  ["start + p <= own;", "start + p <= last;", network("llama")],
  ["start += 8u", "start += 9u", network("llama")],
  ["scores[p] += parts[p * WORKGROUP + lane - share + s]", "scores[p] += parts[s]", asGpuNetwork],
  ["lane / SHARES, step.x - 1u", "lane, step.x - 1u", asGpuNetwork],
  ["let shrink = exp(largest - next);", "let shrink = 1.0;", network("llama")],
  ["min(WORKGROUP, last + 1u - start)", "min(WORKGROUP, last - start)", network("llama", "steps")],
  ["inverseSqrt(f32(HEAD_DIM))", "1.0", network("llama")],
  ["gate / (1.0 + exp(-gate)) * x", "gate / (1.0 + exp(gate)) * x", network("llama")],
  ["x[token * STRIDE + COLS + column]", "x[token * STRIDE + column]", network("llama")],
  ["log(all) + top -", "log(all) -", network("llama", "losses")],
  ["targets[token]];", "targets[0]];", network("llama", "losses")],
  ["value == top && id > top_id", "value == top", network("llama", "top")],
  ["y[out], ADD ||", "0.0, ADD ||", network("llama")],
];

/** The same for tables that lanes of eight hold between them. */
const OCTET_MUTATIONS: typeof MUTATIONS = [
  ["subgroupShuffle(held.x, word & 7u)", "subgroupShuffle(held.x, word & 3u)", matvec("nf3-sym")],
  ["(word & 8u) != 0u", "(word & 4u) != 0u", matvec("nf4-asym")],
  ["levels[2u + own / 4u]", "levels[1u + own / 4u]", matvec("nf4-asym")],
  ["word >> (2u * BITS * k + BITS)", "word >> (2u * BITS * k)", matvec("nf4-sym")],
];

/** A device whose shader modules are made of changed text. */
function broken(device: Device, find: string, put: string): Device & { used: () => boolean } {
  const gpu = device.gpu!;
  let used = false;
  const createShaderModule = (descriptor: GPUShaderModuleDescriptor) => {
    used ||= descriptor.code.includes(find);
    return gpu.device.createShaderModule({
      ...descriptor,
      code: descriptor.code.replace(find, () => put),
    });
  };
  const proxy = new Proxy(gpu.device, {
    get(target, key) {
      if (key === "createShaderModule") return createShaderModule;
      const value = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  return { ...device, gpu: { ...gpu, device: proxy, pipelines: new Map() }, used: () => used };
}

const [target] = present;
const reason = process.env.MUTATIONS === "no"
  ? "MUTATIONS=no"
  : target
  ? null
  : "no device is present";

const octets = target?.device?.gpu?.features.has("octets") ? OCTET_MUTATIONS : [];

for (const [find, put, claim] of reason === null ? [...MUTATIONS, ...octets] : []) {
  const name = `${find.trim()} -> ${put.trim() || "nothing"}`;
  test(`a test notices ${name}`, async () => {
    const device = broken(target.device!, find, put);
    const outcome = await claim(device).then(() => "survived", (error: Error) => error.message);
    assert.ok(device.used(), "the text to change must stand in the kernel");
    assert.match(
      outcome,
      /bounds off|inputs were identical|strictly|dropped the work/,
      `${name}: ${outcome}`,
    );
  });
}

if (reason !== null) testUnless(reason, "tests notice broken kernels", () => {});
