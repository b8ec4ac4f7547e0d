/**
 * An AMD GPU's machine code as its driver prints it: blocks of instructions, and the loops they make.
 *
 *   BB2:
 *   	v_cmpx_le_u32_e32 0x80, v1          ; 7d9602ff 00000080
 *   	s_cbranch_scc0 BB11                 ; bfa103a1
 *
 * A block begins at its label; branches may stand anywhere in it. `(then repeated 3 times)` stands for
 * copies of the line before. A loop is a natural one: a branch back to a block that every way in
 * passes, and all blocks that reach the branch without passing that block again. What a buffer is
 * called is told by its descriptor, four scalar registers loaded from 16 bytes x its binding.
 *
 * @module
 */

/** One instruction; `buffer` is the one that a vector or scalar load reads, where it is known. */
export interface Instruction {
  readonly op: string;
  readonly args: readonly string[];
  readonly text: string;
  buffer?: string;
}

/** Instructions from one label to the next, and the blocks that may come after. */
export interface Block {
  readonly label: string;
  readonly code: readonly Instruction[];
  readonly next: readonly number[];
}

/** Blocks of a loop by their index, its own and those of the loops in it. */
export interface Loop {
  readonly header: number;
  readonly blocks: ReadonlySet<number>;
  readonly inner: readonly Loop[];
}

/** Blocks of a kernel, in order. `bindings` are the names of its buffers, in the order of bindings. */
export function parseAssembly(text: string, bindings: readonly string[] = []): Block[] {
  const labels: string[] = [];
  const bodies: Instruction[][] = [];
  for (const line of text.split("\n")) {
    const label = /^(BB\d+):/.exec(line)?.[1];
    if (label) {
      labels.push(label);
      bodies.push([]);
    }
    const body = bodies.at(-1);
    if (!body || label) continue;
    const repeated = /^\s*\(then repeated (\d+) times\)/.exec(line);
    if (repeated && body.length > 0) {
      for (let i = 0; i < Number(repeated[1]); i++) body.push({ ...body.at(-1)! });
    }
    const found = parseInstruction(line);
    if (found) body.push(found);
  }
  const blocks = bodies.map((code, i) => ({
    label: labels[i],
    code,
    next: successors(code, i, labels),
  }));
  nameBuffers(blocks, bindings);
  return blocks;
}

function parseInstruction(line: string): Instruction | null {
  const text = line.replace(/;.*/, "").trim();
  const [, op, rest] = /^([a-z]\w*)\s*(.*)$/.exec(text) ?? [];
  if (!op || !/^(v|s|ds|buffer|global|flat|scratch|tbuffer|image)_/.test(op)) return null;
  return { op, args: rest.split(/,\s*/).filter((arg) => arg !== ""), text };
}

function successors(code: readonly Instruction[], at: number, labels: readonly string[]): number[] {
  const next = code.flatMap(({ op, text }) => {
    const target = /^s_c?branch/.test(op) ? labels.indexOf(/BB\d+/.exec(text)?.[0] ?? "") : -1;
    return target < 0 ? [] : [target];
  });
  const ends = /^(s_branch|s_endpgm|s_setpc_b64)$/.test(code.at(-1)?.op ?? "");
  if (!ends && at + 1 < labels.length) next.push(at + 1);
  return [...new Set(next)];
}

/** Registers of an operand such as `s[8:11]` or `v3`: kind, first and last. */
export function registers(operand: string): { kind: string; first: number; last: number } | null {
  const [, kind, first, last] = /^-?\|?([sv])\[?(\d+)(?::(\d+))?\]?/.exec(operand) ?? [];
  return kind ? { kind, first: Number(first), last: Number(last ?? first) } : null;
}

type Descriptors = Map<number, string>;

/** Follows descriptors through scalar registers until nothing changes, then names what loads read. */
function nameBuffers(blocks: readonly Block[], bindings: readonly string[]): void {
  const entry: (Descriptors | undefined)[] = blocks.map(() => undefined);
  const queue = [0];
  entry[0] = new Map();
  while (queue.length > 0) {
    const at = queue.shift()!;
    const state = new Map(entry[at]);
    for (const instruction of blocks[at]?.code ?? []) follow(state, instruction, bindings);
    for (const next of blocks[at]?.next ?? []) {
      const met = meet(entry[next], state);
      if (met === null) continue;
      entry[next] = met;
      queue.push(next);
    }
  }
}

/** What both ways into a block agree on; null where that is what was known before. */
function meet(before: Descriptors | undefined, now: Descriptors): Descriptors | null {
  if (!before) return new Map(now);
  const both = new Map([...before].filter(([register, name]) => now.get(register) === name));
  return both.size === before.size ? null : both;
}

const NO_RESULT = /^s_(c?branch|cmp|bitcmp|waitcnt|wait_|nop|barrier|clause|delay|endpgm|inst|set)/;

function follow(state: Descriptors, instruction: Instruction, bindings: readonly string[]): void {
  const { op, args } = instruction;
  if (/^(buffer|tbuffer|s_buffer)_/.test(op)) {
    const operand = args.slice(1).find((arg) => /^s\[\d+:\d+\]/.test(arg));
    instruction.buffer = state.get(registers(operand ?? "")?.first ?? -1);
  }
  if (NO_RESULT.test(op)) return;
  const result = registers(args[0] ?? "");
  if (result?.kind !== "s" || /store/.test(op)) return;
  const source = registers(args[1] ?? "");
  const moved = /^s_mov_b(32|64)$/.test(op) && source ? state.get(source.first) : undefined;
  for (let i = result.first; i <= result.last; i++) state.delete(i);
  if (moved !== undefined) state.set(result.first, moved);
  if (!/^s_load_(b128|b256|b512|dwordx4|dwordx8|dwordx16)$/.test(op)) return;
  const offset = args[2] === "null" || args[2] === undefined ? 0 : Number(args[2]);
  for (let i = result.first; i <= result.last; i += 4) {
    const name = bindings[offset / 16 + (i - result.first) / 4];
    if (name !== undefined) state.set(i, name);
  }
}

/** The outermost loops, each with those in it. */
export function findLoops(blocks: readonly Block[]): Loop[] {
  const bodies = new Map<number, Set<number>>();
  blocks.forEach(({ next }, latch) => {
    for (const header of next.filter((block) => block <= latch)) {
      const body = bodies.get(header) ?? new Set([header]);
      for (const block of reaching(blocks, latch, body)) body.add(block);
      bodies.set(header, body);
    }
  });
  const all = [...bodies].map(([header, body]) => ({ header, blocks: body }));
  return nest(all.sort((a, b) => b.blocks.size - a.blocks.size));
}

/** Blocks from which `latch` is reached without passing `stop`. */
function reaching(blocks: readonly Block[], latch: number, stop: ReadonlySet<number>): Set<number> {
  const found = new Set<number>();
  const queue = stop.has(latch) ? [] : [latch];
  for (let at = queue.pop(); at !== undefined; at = queue.pop()) {
    if (found.has(at)) continue;
    found.add(at);
    blocks.forEach(({ next }, from) => {
      if (next.includes(at!) && !stop.has(from)) queue.push(from);
    });
  }
  return found;
}

/** Loops largest first, as a tree. */
function nest(loops: readonly Omit<Loop, "inner">[]): Loop[] {
  const roots: Loop[] = [];
  for (const loop of loops) {
    let siblings = roots;
    for (
      let parent = holder(siblings, loop.header);
      parent;
      parent = holder(siblings, loop.header)
    ) siblings = parent.inner as Loop[];
    siblings.push({ ...loop, inner: [] });
  }
  return roots;
}

function holder(loops: readonly Loop[], block: number): Loop | undefined {
  return loops.find(({ blocks }) => blocks.has(block));
}
