/**
 * How often a loop runs, found by running its counter: one lane, the first, goes through the code with
 * those registers whose values follow from constants, all others unknown. Masks of lanes are one bit
 * then, kept in the first of their registers. An instruction that is not known makes its result
 * unknown; a branch on something unknown goes both ways, and if one of them leaves the loop and one
 * goes on, nobody can tell.
 *
 * @module
 */

import { type Block, type Instruction, type Loop, registers } from "./assembly.ts";

type Values = Map<string, number>;

const MOST_TRIPS = 4096;

/** Trips of the first lane through a loop; null where constants do not decide. */
export function tripsOf(blocks: readonly Block[], loop: Loop): number | null {
  let values: Values | null = valuesBefore(blocks, loop);
  let whole = 0;
  for (let trips = 0; trips < MOST_TRIPS; trips++) {
    const { next, left, valu }: Trip = runTrip(blocks, loop, values);
    if (next && left) return null;
    if (!next) return left ? trips + (valu > whole / 2 ? 1 : 0) : null;
    [values, whole] = [next, valu];
  }
  return null;
}

/** What a trip comes to. */
interface Trip {
  /** What is known at the header when the loop goes on, if it may. */
  readonly next: Values | null;
  /** Whether the loop may be left. */
  readonly left: boolean;
  /** VALU instructions of the blocks that may run. */
  readonly valu: number;
}

/** Runs a trip, both ways where a branch cannot be decided; code lies in the order it runs in. */
function runTrip(blocks: readonly Block[], loop: Loop, values: Values): Trip {
  const entry = new Map([[loop.header, values]]);
  let [left, valu, next]: [boolean, number, Values | null] = [false, 0, null];
  for (const at of [...loop.blocks].sort((a, b) => a - b)) {
    const state = entry.get(at);
    if (!state) continue;
    const inner = loop.inner.find(({ header }) => header === at);
    for (const block of inner?.blocks ?? []) {
      for (const instruction of blocks[block].code) forget(state, instruction);
    }
    valu += blocks[at].code.filter(({ op }) => op.startsWith("v_")).length;
    for (const [to, after] of runBlock(state, blocks, at)) {
      if (to === loop.header) next = next ? meet(next, after) : after;
      else if (!loop.blocks.has(to)) left = true;
      else if (to > at) entry.set(to, entry.has(to) ? meet(entry.get(to)!, after) : after);
    }
  }
  return { next, left, valu };
}

/** What two ways agree on. */
function meet(a: Values, b: Values): Values {
  return new Map([...a].filter(([register, value]) => b.get(register) === value));
}

/** What is known where a loop begins: only blocks that every way passes, once, tell anything. */
function valuesBefore(blocks: readonly Block[], { header }: Loop): Values {
  const values: Values = new Map([["v0", 0], ["exec", 1]]);
  for (let at = 0; at < header; at++) {
    const sure = !reaches(blocks, 0, header, at) && (!reachesItself(blocks, at, header));
    for (const instruction of blocks[at].code) {
      if (sure) step(values, instruction);
      else forget(values, instruction);
    }
  }
  return values.set("exec", 1);
}

/** Whether a block comes after another without passing `without`. */
function reaches(blocks: readonly Block[], from: number, to: number, without: number): boolean {
  const seen = new Set([without]);
  const queue = [from];
  for (let at = queue.pop(); at !== undefined; at = queue.pop()) {
    if (seen.has(at)) continue;
    if (at === to) return true;
    seen.add(at);
    queue.push(...blocks[at].next);
  }
  return false;
}

/** Whether a block runs again before `header` does. */
function reachesItself(blocks: readonly Block[], block: number, header: number): boolean {
  return blocks[block].next.some((next) => next === block || reaches(blocks, next, block, header));
}

/** Runs a block: the blocks that may come after it, and what is known there. */
function runBlock(values: Values, blocks: readonly Block[], at: number): [number, Values][] {
  const after: [number, Values][] = [];
  for (const instruction of blocks[at].code) {
    const { op, text } = instruction;
    if (op === "s_endpgm") return after;
    if (!/^s_c?branch/.test(op)) {
      step(values, instruction);
      continue;
    }
    const taken = branches(values, op);
    const label = /BB\d+/.exec(text)?.[0];
    if (taken !== false) after.push([blocks.findIndex((b) => b.label === label), new Map(values)]);
    if (taken) return after;
  }
  return [...after, [at + 1, values]];
}

function branches(values: Values, op: string): boolean | null {
  if (op === "s_branch") return true;
  const [, register, wanted] = /^s_cbranch_(scc|exec|vcc)(0|1|z|nz)$/.exec(op) ?? [];
  const value = register === undefined ? undefined : values.get(register);
  if (value === undefined) return null;
  return (value !== 0) === (wanted === "1" || wanted === "nz");
}

/** Results of the operations that counters are made of; an operation's name ends before its type. */
const OPERATIONS: Record<string, (a: number, b: number, c: number) => number> = {
  mov: (a) => a,
  movk: (a) => a,
  add: (a, b) => a + b,
  addk: (a, b) => a + b,
  add_nc: (a, b) => a + b,
  sub: (a, b) => a - b,
  sub_nc: (a, b) => a - b,
  subrev: (a, b) => b - a,
  subrev_nc: (a, b) => b - a,
  lshl: (a, b) => a << b,
  lshlrev: (a, b) => b << a,
  lshr: (a, b) => a >>> b,
  lshrrev: (a, b) => b >>> a,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  min: (a, b) => Math.min(a, b),
  max: (a, b) => Math.max(a, b),
  bfe: (a, b, c) => (a >>> b) & ((1 << c) - 1),
  lshl_add: (a, b, c) => (a << b) + c,
  add_lshl: (a, b, c) => (a + b) << c,
  lshl_or: (a, b, c) => (a << b) | c,
  and_or: (a, b, c) => (a & b) | c,
  or3: (a, b, c) => a | b | c,
  add3: (a, b, c) => a + b + c,
};

/** The same of masks, of which the first lane's bit counts. */
const MASKS: Record<string, (a: number, b: number) => number> = {
  mov: (a) => a & 1,
  not: (a) => ~a & 1,
  and: (a, b) => a & b & 1,
  or: (a, b) => (a | b) & 1,
  xor: (a, b) => (a ^ b) & 1,
  and_not1: (a, b) => a & ~b & 1,
  andn2: (a, b) => a & ~b & 1,
};

const COMPARISONS: Record<string, (a: number, b: number) => boolean> = {
  lt: (a, b) => a < b,
  le: (a, b) => a <= b,
  gt: (a, b) => a > b,
  ge: (a, b) => a >= b,
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
  lg: (a, b) => a !== b,
};

/** One instruction, branches apart. */
function step(values: Values, instruction: Instruction): void {
  const { op, args } = instruction;
  const exec = values.get("exec");
  if (op.startsWith("v_") && exec === 0) return; // the lane sleeps
  if (op.startsWith("v_") && exec === undefined) return forget(values, instruction);
  if (compare(values, op, args)) return;
  const [, name, type] = /^[vs]_(\w+?)_([biu](?:16|32|64))(?:_e32|_e64)?$/.exec(op) ?? [];
  const inputs = args.slice(name === "addk" ? 0 : 1).map((arg) => valueOf(values, arg));
  const [a = 0, b = 0, c = 0] = inputs as number[];
  const known = inputs.every((input) => input !== undefined);
  const saved = /^(and|or|and_not1|andn2)_saveexec$/.exec(name ?? "")?.[1];
  if (saved) return saveExec(values, instruction, saved, a);
  const wide = type === "b64" || args.some((arg) => /^(exec|vcc)_lo/.test(arg));
  const mask = wide && op.startsWith("s_") ? MASKS[name] : undefined;
  const result = mask ? mask(a, b) : type?.endsWith("32") ? OPERATIONS[name]?.(a, b, c) : undefined;
  if (!known || result === undefined) return forget(values, instruction);
  values.set(nameOf(args[0]), mask ? result : result | 0);
  if (!op.startsWith("s_") || /^s_movk?_/.test(op)) return;
  if (/^s_(add|sub|min|max)/.test(op)) values.delete("scc");
  else values.set("scc", Number(result !== 0));
}

function saveExec(values: Values, { args }: Instruction, name: string, a: number): void {
  const exec = values.get("exec");
  const known = valueOf(values, args[1]) !== undefined && exec !== undefined;
  for (const register of [nameOf(args[0]), "exec", "scc"]) values.delete(register);
  if (!known) return;
  const result = MASKS[name](a, exec);
  values.set(nameOf(args[0]), exec).set("exec", result).set("scc", result);
}

/** A comparison, should the instruction be one: into scc, a mask, or the lanes that go on. */
function compare(values: Values, op: string, args: readonly string[]): boolean {
  const [, kind, name, type] =
    /^(v_cmpx?|s_cmpk?)_(lt|le|gt|ge|eq|ne|lg)_([iu]32)(?:_e32|_e64)?$/.exec(op) ?? [];
  if (!kind) return false;
  const [left, right] = args.slice(-2).map((arg) => valueOf(values, arg));
  const target = kind.startsWith("s") ? "scc" : kind === "v_cmpx" ? "exec" : nameOf(args[0]);
  values.delete(target);
  if (left === undefined || right === undefined) return true;
  const [a, b] = type === "u32" ? [left >>> 0, right >>> 0] : [left | 0, right | 0];
  values.set(target, Number(COMPARISONS[name](a, b)));
  return true;
}

/** Forgets what an instruction writes, the whole range of it. */
function forget(values: Values, { op, args, text }: Instruction): void {
  if (/^s_(waitcnt|wait_|nop|clause|delay|barrier|c?branch|endpgm)|store/.test(op)) return;
  if (op.startsWith("s_")) values.delete("scc");
  if (/saveexec|^v_cmpx/.test(op)) values.delete("exec");
  if (/_co_/.test(op)) values.delete(nameOf(args[1] ?? ""));
  const second = /:: v_dual_\w+ (v\d+)/.exec(text)?.[1];
  if (second) values.delete(second);
  const range = registers(args[0] ?? "");
  if (!range) values.delete(nameOf(args[0] ?? ""));
  else for (let i = range.first; i <= range.last; i++) values.delete(`${range.kind}${i}`);
}

function valueOf(values: Values, operand: string): number | undefined {
  const word = operand.trim().split(/\s/)[0];
  return /^(-?\d+|0x[\da-f]+)$/i.test(word) ? Number(word) : values.get(nameOf(word));
}

/** A register's name, that of the first of several; a mask goes by its lower half. */
function nameOf(operand: string): string {
  const range = registers(operand);
  return range ? `${range.kind}${range.first}` : operand.replace(/_lo$/, "");
}
