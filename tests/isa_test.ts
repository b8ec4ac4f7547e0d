import { test } from "node:test";
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { findLoops, parseAssembly } from "../bench/isa/assembly.ts";
import { toSpirv, whyNot, withDriver } from "../bench/isa/compile.ts";
import { costOf } from "../bench/isa/cost.ts";
import { innerLoop } from "../bench/isa/inner_loop.ts";
import { launchesOf } from "../bench/isa/launches.ts";
import { table } from "../bench/isa/tables.ts";
import { tripsOf } from "../bench/isa/trips.ts";
import { kernelNames } from "../lib/kernels.ts";
import { testUnless } from "./test_unless.ts";

/** One word of eight 4-bit weights a trip, for two vec4f of x: EIGHT below, compiled for navi31. */
const RECORDED = `--- Assembly
BB0:
	v_mov_b32_e32 v4, 0                                         ; 7e080280
	v_mov_b32_e32 v5, v0                                        ; 7e0a0300
BB1:
	s_mov_b64 s[0:1], exec                                      ; be80017e
	s_delay_alu instid0(VALU_DEP_1)                             ; bf870001
	v_cmpx_le_u32_e32 0x400, v5                                 ; 7d960aff 00000400
BB2:
	s_and_not1_b64 s[0:1], s[0:1], exec                         ; 91807e00
	s_cbranch_scc0 BB10                                         ; bfa10033
BB9:
	s_mov_b64 exec, s[0:1]                                      ; befe0100
	s_mov_b32 s0, s2                                            ; be800002
	s_movk_i32 s1, 0x8000                                       ; b0018000
	s_clause 0x1                                                ; bf850001
	s_load_b128 s[4:7], s[0:1], null                            ; f4080100 f8000000
	s_load_b128 s[8:11], s[0:1], 0x10                           ; f4080200 f8000010
	v_lshlrev_b32_e32 v6, 2, v5                                 ; 300c0a82
	s_waitcnt lgkmcnt(0)                                        ; bf89fc07
	buffer_load_b32 v6, v6, s[4:7], 0 offen                     ; e0500000 80410606
	v_lshlrev_b32_e32 v7, 5, v5                                 ; 300e0a85
	s_clause 0x1                                                ; bf850001
	buffer_load_b128 v[8:11], v7, s[8:11], 0 offen              ; e05c0000 80420807
	buffer_load_b128 v[12:15], v7, s[8:11], 0 offen offset:16   ; e05c0010 80420c07
	s_mov_b32 s0, 0x3b808081                                    ; be8000ff 3b808081
	v_add_nc_u32_e32 v5, 64, v5                                 ; 4a0a0ac0
	s_waitcnt vmcnt(2)                                          ; bf890bf7
	v_cvt_f32_ubyte2_e32 v18, v6                                ; 7e242706
	v_cvt_f32_ubyte3_e32 v19, v6                                ; 7e262906
	v_lshlrev_b32_e32 v6, 4, v6                                 ; 300c0c84
	v_mul_f32_e32 v18, s0, v18                                  ; 10242400
	s_nop 0                                                     ; bf800000
	(then repeated 3 times)
	s_waitcnt vmcnt(1)                                          ; bf8907f7
	v_fmac_f32_e32 v2, v18, v10                                 ; 56041512
	(then repeated 1 times)
	v_dual_fmac_f32 v3, v17, v9 :: v_dual_mul_f32 v4, v16, v8   ; c8001311
	s_waitcnt vmcnt(0)                                          ; bf8903f7
	v_fmac_f32_e32 v1, v6, v15                                  ; 56021f06
	s_branch BB1                                                ; bfa0ffc7
BB10:
	v_add_f32_e32 v2, v2, v1                                    ; 06040302
	s_endpgm                                                    ; bfb00000
`;

const EIGHT = `
override WORDS: u32;
@group(0) @binding(0) var<storage, read> codes: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = vec4f(0.0);
  for (var i = lane; i < WORDS; i += 64u) {
    let word = codes[i];
    sum += unpack4x8unorm(word) * x[2u * i];
    sum += unpack4x8unorm(word << 4u) * x[2u * i + 1u];
  }
  y[lane] = dot(sum, vec4f(1.0));
}
`;

const CODES = new Set(["codes"]);

test("a loop is counted instruction by instruction, repeated and dual ones too", () => {
  const { label, counts, leastValu } = innerLoop(parseAssembly(RECORDED, ["codes", "x"]), CODES)!;
  assert.equal(label, "BB1");
  // cmpx, 2 shifts, add; 2 conversions, shift, mul; 2 fmac, dual, fmac
  assert.deepEqual([counts.valu, counts.operations, leastValu], [12, 13, 12]);
  assert.equal(counts.multiplies, 6);
  assert.deepEqual([counts.loads, counts.scalarLoads, counts.waits], [3, 2, 4]);
});

test("a load is known by the descriptor that it reads, also one that was moved", () => {
  const { bytes } = innerLoop(parseAssembly(RECORDED, ["codes", "x"]), CODES)!;
  assert.deepEqual(bytes, { codes: 4, x: 32 });
  const moved = RECORDED.replace("s[4:7], 0 offen", "s[20:23], 0 offen").replace(
    "v_lshlrev_b32_e32 v6, 2, v5",
    "s_mov_b64 s[20:21], s[4:5]\n\ts_mov_b64 s[22:23], s[6:7]",
  );
  const { bytes: after } = innerLoop(parseAssembly(moved, ["codes", "x"]), CODES)!;
  assert.deepEqual(after, { codes: 4, x: 32 });
  const lost = RECORDED.replace("s_clause 0x1", "s_mov_b32 s0, 0").replace("null", "0x40");
  assert.equal(innerLoop(parseAssembly(lost, ["codes", "x"]), CODES), null);
});

test("loads in flight are those that no wait has asked for yet, from one trip into the next", () => {
  const loop = innerLoop(parseAssembly(RECORDED, ["codes", "x"]), CODES)!;
  assert.deepEqual([loop.loadsInFlight, loop.weightLoadsInFlight], [3, 1]);
  const ahead = RECORDED.replace("s_waitcnt vmcnt(2)", "s_nop 0")
    .replaceAll(/s_waitcnt vmcnt\([01]\)/g, "s_waitcnt vmcnt(3)");
  const pipelined = innerLoop(parseAssembly(ahead, ["codes", "x"]), CODES)!;
  assert.deepEqual([pipelined.loadsInFlight, pipelined.weightLoadsInFlight], [6, 2]);
});

/** A loop over units with a loop of `bound` words inside, a branch in that, and an exit at the top. */
const nested = (bound: string) => `
BB0:
	s_load_b128 s[4:7], s[2:3], 0x0
	s_mov_b32 s8, 0
BB1:
	buffer_load_b128 v[8:11], v7, s[4:7], 0 offen
	s_mov_b32 s9, 0
	s_waitcnt vmcnt(0)
BB2:
	v_fma_f32 v1, v2, v3, v4
	s_cmp_lg_i32 s20, 0
	s_cbranch_scc0 BB4
BB3:
	v_fma_f32 v1, v2, v3, v4
	v_fma_f32 v1, v2, v3, v4
BB4:
	s_add_u32 s9, s9, 1
	s_cmp_lt_u32 s9, ${bound}
	s_cbranch_scc1 BB2
BB5:
	v_add_f32 v1, v1, v2
	s_addk_i32 s8, 1
	s_cmpk_lt_u32 s8, 0x80
	s_cbranch_scc1 BB1
BB6:
	s_endpgm
`;

test("loops inside count by their trips, the dearest way and the cheapest", () => {
  const blocks = parseAssembly(nested("4"), ["codes"]);
  const [outer] = findLoops(blocks);
  assert.deepEqual([tripsOf(blocks, outer), tripsOf(blocks, outer.inner[0])], [128, 4]);
  const loop = innerLoop(blocks, CODES)!;
  assert.deepEqual([loop.label, loop.counts.valu, loop.leastValu], ["BB1", 13, 5]);
  assert.deepEqual([loop.innerTrips, loop.unknownTrips], [{ BB2: 4 }, []]);
});

test("trips that nothing tells are said, not guessed", () => {
  const loop = innerLoop(parseAssembly(nested("s21"), ["codes"]), CODES)!;
  assert.deepEqual([loop.unknownTrips, loop.counts.valu], [["BB2"], 4]);
});

test("a loop of few rows is counted with the loop around it, a long one alone", () => {
  const rows = nested("4").replace("BB2:", "BB2:\n\tbuffer_load_b32 v5, v7, s[4:7], 0 offen");
  const few = innerLoop(parseAssembly(rows, ["codes"]), CODES)!;
  assert.deepEqual([few.label, few.bytes.codes], ["BB1", 16 + 4 * 4]);
  const long = innerLoop(parseAssembly(rows.replace("s9, 4", "s9, 64"), ["codes"]), CODES)!;
  assert.deepEqual([long.label, long.bytes.codes], ["BB2", 4]);
});

test("a lane's own counter is followed from its first value to its bound", () => {
  const counting = (bound: string) =>
    parseAssembly(`
BB0:
	v_and_b32_e32 v1, 1, v0
	v_lshlrev_b32_e32 v40, 2, v1
	v_lshl_or_b32 v43, v1, 2, 3
	s_mov_b64 s[4:5], exec
BB1:
	v_cmp_gt_u32_e64 s[6:7], v40, ${bound}
	s_and_saveexec_b64 s[6:7], s[6:7]
BB2:
	s_and_not1_b64 s[4:5], s[4:5], exec
	s_cbranch_scc0 BB4
BB3:
	s_mov_b64 exec, s[4:5]
	v_add_nc_u32_e32 v40, 1, v40
	s_branch BB1
BB4:
	s_endpgm
`);
  const trips = (bound: string) => tripsOf(counting(bound), findLoops(counting(bound))[0]);
  assert.deepEqual([trips("v43"), trips("0x8"), trips("v50")], [4, 9, null]);
});

test("a loop unrolled to nothing is the whole kernel, and said to be", () => {
  const straight = "BB0:\n\ts_load_b128 s[4:7], s[2:3], 0x0\n" +
    "\tbuffer_load_b32 v6, v6, s[4:7], 0 offen\n\tv_add_f32 v1, v2, v3\n\ts_endpgm\n";
  const loop = innerLoop(parseAssembly(straight, ["codes"]), CODES)!;
  assert.deepEqual([loop.unrolled, loop.counts.valu, loop.bytes.codes], [true, 1, 4]);
  assert.equal(innerLoop(parseAssembly(straight, ["x"]), CODES), null);
});

const STATISTICS = {
  "VGPRs": 60,
  "SGPRs": 128,
  "Spilled VGPRs": 0,
  "Spilled SGPRs": 0,
  "Scratch size": 0,
  "LDS size": 0,
  "Subgroups per SIMD": 24,
  "Latency": 1,
  "Inverse Throughput": 1,
};

function costs(kernel: object, lanes = 64, gpu = "navi31") {
  const spirv = {
    text: "",
    entry: "main",
    bindings: [{ at: "0:0:s", name: "codes" }, { at: "0:1:s", name: "x" }],
  };
  const compiled = { assembly: RECORDED, lanes, statistics: STATISTICS };
  return costOf(compiled, spirv, { kernel: "eight", gpu, constants: {}, ...kernel });
}

test("weights a trip come from the bytes that are loaded, and products from rows and tokens", () => {
  assert.equal(costs({ constants: { BITS: 4 } }).products, 8);
  assert.equal(costs({ constants: { DTYPE: 1 } }).products, 2);
  assert.equal(costs({ bits: 3 }).products, 4 * 8 / 3);
  const { products, notes } = costs({ constants: { BITS: 4 }, rows: 1, tokens: 4 });
  const few = "only 6 multiplies for 8 products";
  assert.deepEqual([products, notes], [8, ["weights loaded x 4", few]]);
  assert.deepEqual(costs({}).notes, ["bits of a weight unknown"]);
});

test("waves are counted in the kernel's own lanes", () => {
  assert.equal(costs({}).wavesPerSimd, 12);
  assert.equal(costs({}, 32).wavesPerSimd, 24);
  assert.equal(costs({}, 64, "vega10").wavesPerSimd, 24);
});

test("what is costed is what the library launches on hardware", async () => {
  const product = { rows: 256, cols: 512, group: 128 } as const;
  for (const format of ["nf3-sym", "fp4-asym", "f16"]) {
    const launched = await launchesOf({ ...product, format }, [1, 64, 65]);
    assert.ok(launched.length > 0);
    for (const { kernel, code, constants, rows, tokens } of launched) {
      assert.ok((kernelNames as string[]).includes(kernel), kernel);
      assert.doesNotMatch(kernel, /quads/);
      assert.match(code, /fn main\(/);
      assert.ok(rows >= 1 && tokens >= 1);
      if ("ROWS" in constants) assert.deepEqual([constants.ROWS, constants.COLS], [256, 512]);
    }
    assert.deepEqual([...new Set(launched.flatMap(({ batches }) => batches))].sort(), [1, 64, 65]);
  }
});

test("a table has no empty column, and its Markdown is as the formatter leaves it", () => {
  const lines = [{ kernel: "matvec", least: "", VALU: "4.01" }, {
    kernel: "m",
    least: "",
    VALU: "?",
  }];
  assert.equal(table(lines), "kernel  VALU\n------  ----\nmatvec  4.01\nm          ?");
  assert.equal(
    table(lines, "markdown"),
    "| kernel | VALU |\n| :----- | ---: |\n| matvec | 4.01 |\n| m      |    ? |",
  );
});

/** Why kernels cannot be compiled here: a tool that is missing, or an adapter for Dawn. */
function whyNone(): string | null {
  const why = whyNot();
  if (why !== null) return why;
  try {
    toSpirv([{ code: EIGHT, entry: "main", constants: { WORDS: 1024 } }]);
    return null;
  } catch (error) {
    const { message } = error as Error;
    return /found no adapter/.test(message) ? message : null;
  }
}

const none = whyNone();

testUnless(none, "a kernel of eight weights a trip comes out of the driver as counted", () => {
  const kernel = { code: EIGHT, entry: "main", constants: { WORDS: 1024 } };
  const [spirv] = toSpirv([kernel]);
  assert.deepEqual(spirv.bindings.map(({ name }) => name), ["codes", "x", "y"]);
  for (const gpu of ["navi31", "vega10"]) {
    const cost = withDriver((compile) =>
      costOf(compile(spirv, gpu), spirv, { ...kernel, kernel: "eight", gpu, bits: 4 })
    );
    const { products, loop, spills, wavesPerSimd } = cost;
    assert.deepEqual([products, loop!.bytes, spills], [8, { codes: 4, x: 32 }, 0]);
    assert.ok(loop!.counts.valu >= 3 * 8 && loop!.counts.valu <= 5 * 8, `${loop!.counts.valu}`);
    assert.ok(loop!.counts.multiplies >= 8 && wavesPerSimd >= 4);
  }
});

testUnless(none, "WGSL that is wrong is refused with line and column", () => {
  const wrong = { code: "fn main() { let x = ; }", entry: "main", constants: {} };
  assert.throws(() => toSpirv([wrong]), /^Error: Cannot make SPIR-V of kernels: 1:21 /);
});

test("where a tool is missing one line says which, and what to install", () => {
  const script = fileURLToPath(new URL("../bench/isa/isa.ts", import.meta.url));
  const run = "Deno" in globalThis ? ["run", "-A", "--no-prompt", script] : [script];
  const { status, stderr } = spawnSync(process.execPath, run, {
    env: { ...process.env, PATH: "/nowhere" },
    encoding: "utf8",
  });
  assert.equal(status, 1);
  assert.match(
    stderr,
    /^isa: Cannot read machine code: there is no gcc, no spirv-as.*apt-get.*\n$/,
  );
});
