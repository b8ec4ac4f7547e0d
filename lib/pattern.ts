/**
 * Runs the regular expressions of a tokenizer.json by counted steps. They come from strangers, and
 * both runtimes' own engines backtrack without a limit: `(a+)+$` on 40 letters takes hours, and no
 * worker of either runtime is sure to be stopped in the middle of it.
 *
 * The engine backtracks too, so that it finds what Oniguruma finds (leftmost, first alternative),
 * but each try costs a step of a {@linkcode Budget} that a whole text shares, a fixed number a
 * character: what needs more is refused, always at the same place. A pattern is compiled to closures,
 * each given what follows it; repeats of single characters, which real patterns consist of, are loops.
 *
 * Positions are UTF-16 offsets; characters are code points.
 *
 * @module
 */
import { type Anchor, parsePattern, type Pattern, WORD } from "./pattern_syntax.ts";

/** Steps that are left; all patterns of one text draw on it. */
export interface Budget {
  steps: number;
}

const STEPS_A_TEXT = 1_000_000;
const STEPS_A_CHARACTER = 500;
const MAX_DEPTH = 1500;
const MAX_BEHIND = 32;
const KNOWN_POINTS = 256;

/** What a text of so many characters may cost. */
export function stepsFor(characters: number): number {
  return STEPS_A_TEXT + STEPS_A_CHARACTER * characters;
}

/** Finds the matches of a text from left to right: [start, end] each, none of them empty twice. */
export type Finder = (text: string) => [number, number][];

/** Gives the end of a match that begins at an offset, -1 where none does. */
type Matcher = (at: number) => number;

interface Run {
  text: string;
  depth: number;
  readonly budget: Budget;
  readonly source: string;
}

/**
 * Compiles a regular expression.
 *
 * @throws {SyntaxError} where it is not understood; the finder throws a RangeError out of budget.
 */
export function compilePattern(source: string, budget: Budget): Finder {
  const run: Run = { text: "", depth: 0, budget, source };
  const match = compile(parsePattern(source), (at) => at, run);
  return (text) => {
    run.text = text;
    run.depth = 0;
    const found: [number, number][] = [];
    for (let at = 0; at <= text.length;) {
      const end = match(at);
      spend(run, 1);
      if (end >= 0) found.push([at, end]);
      at = end > at ? end : at + widthAt(text, at);
    }
    run.text = "";
    return found;
  };
}

function spend(run: Run, steps: number): void {
  if ((run.budget.steps -= steps) < 0) {
    refuse(run, `take at most ${STEPS_A_CHARACTER} steps a character`);
  }
}

function refuse({ source }: Run, rule: string): never {
  const shown = JSON.stringify(source.length > 60 ? `${source.slice(0, 57)}...` : source);
  throw new RangeError(
    `Cannot match the regular expression ${shown} as it must ${rule}: got more`,
  );
}

function compile(pattern: Pattern, next: Matcher, run: Run): Matcher {
  switch (pattern.type) {
    case "set":
      return compileSets([pattern], next, run);
    case "sequence":
      return compileSequence(pattern.items, next, run);
    case "choice": {
      const ways = pattern.items.map((item) => compile(item, next, run));
      return (at) => {
        for (const way of ways) {
          spend(run, 1);
          const end = way(at);
          if (end >= 0) return end;
        }
        return -1;
      };
    }
    case "repeat":
      return compileRepeat(pattern, next, run);
    case "atomic": {
      const inner = compile(pattern.item, (at) => at, run);
      return (at) => {
        spend(run, 1);
        const end = inner(at);
        return end < 0 ? -1 : next(end);
      };
    }
    case "ahead": {
      const inner = compile(pattern.item, (at) => at, run);
      return (at) => {
        spend(run, 1);
        return (inner(at) >= 0) !== pattern.negative ? next(at) : -1;
      };
    }
    case "behind": {
      const seen = compileBehind(pattern.item, run);
      return (at) => seen(at) !== pattern.negative ? next(at) : -1;
    }
    case "anchor": {
      const holds = anchors[pattern.at];
      return (at) => {
        spend(run, 1);
        return holds(run.text, at) ? next(at) : -1;
      };
    }
  }
}

type CharacterSet = Extract<Pattern, { type: "set" }>;
type Repeat = Extract<Pattern, { type: "repeat" }>;

/** Items one after the other; sets in a row, such as a word, are one loop. */
function compileSequence(items: readonly Pattern[], next: Matcher, run: Run): Matcher {
  let matcher = next;
  for (let end = items.length; end > 0;) {
    let from = end - 1;
    const sets: CharacterSet[] = [];
    for (let item = items[from]; item?.type === "set"; item = items[--from]) sets.unshift(item);
    matcher = sets.length > 0
      ? compileSets(sets, matcher, run)
      : compile(items[from--], matcher, run);
    end = from + 1;
  }
  return matcher;
}

function compileSets(sets: readonly CharacterSet[], next: Matcher, run: Run): Matcher {
  const all = sets.map((set) => membership(set));
  return (at) => {
    for (const has of all) {
      spend(run, 1);
      const point = run.text.codePointAt(at);
      if (point === undefined || !has(point)) return -1;
      at += widthOf(point);
    }
    return next(at);
  };
}

function compileRepeat(pattern: Repeat, next: Matcher, run: Run): Matcher {
  if (pattern.kind === "possessive") {
    const item: Pattern = { ...pattern, kind: "greedy" };
    return compile({ type: "atomic", item }, next, run);
  }
  if (pattern.item.type === "set") return compileRun(pattern, pattern.item, next, run);
  return compileLoop(pattern, next, run);
}

/** A repeated set: takes characters in a loop, and gives them back one by one. */
function compileRun(
  { min, max, kind }: Repeat,
  set: CharacterSet,
  next: Matcher,
  run: Run,
): Matcher {
  const has = membership(set);
  const step = (at: number) => {
    spend(run, 1);
    const point = run.text.codePointAt(at);
    return point !== undefined && has(point) ? at + widthOf(point) : -1;
  };
  const lazy: Matcher = (at) => {
    for (let count = 0;; count++) {
      const end = count >= min ? next(at) : -1;
      if (end >= 0 || count === max || (at = step(at)) < 0) return end;
    }
  };
  const greedy: Matcher = (at) => {
    let [end, count] = [at, 0];
    for (let more = at; count < max && (more = step(more)) >= 0; count++) end = more;
    for (; count >= min; count--) {
      const found = next(end);
      if (found >= 0 || end === at) return found;
      spend(run, 1);
      end -= widthBefore(run.text, end);
    }
    return -1;
  };
  return kind === "lazy" ? lazy : greedy;
}

/** A repeated group: each round is a call within the last one's, hence `MAX_DEPTH`. */
function compileLoop({ item, min, max, kind }: Repeat, next: Matcher, run: Run): Matcher {
  let count = 0;
  let start = -1;
  const round = (at: number): number => {
    spend(run, 1);
    const [was, from] = [count, start];
    if (was >= max || (at === from && was >= min)) return -1;
    [count, start] = [was + 1, at];
    if (++run.depth > MAX_DEPTH) refuse(run, `repeat a group at most ${MAX_DEPTH} times`);
    const end = body(at);
    run.depth--;
    [count, start] = [was, from];
    return end;
  };
  const leave = (at: number): number => count >= min ? next(at) : -1;
  const either: Matcher = kind === "lazy"
    ? (at) => {
      const end = leave(at);
      return end >= 0 ? end : round(at);
    }
    : (at) => {
      const end = round(at);
      return end >= 0 ? end : leave(at);
    };
  const body = compile(item, either, run);
  return (at) => {
    spend(run, 1);
    const [was, from] = [count, start];
    [count, start] = [0, -1];
    const end = either(at);
    [count, start] = [was, from];
    return end;
  };
}

/** Look-behind: tries each start that is far enough back for the item, the nearest first. */
function compileBehind(item: Pattern, run: Run): (at: number) => boolean {
  const [min, max] = lengths(item);
  if (max > MAX_BEHIND) {
    throw new SyntaxError(
      `Cannot read a regular expression as it must look back at most ${MAX_BEHIND} characters: ` +
        `got ${max}`,
    );
  }
  let goal = 0;
  const inner = compile(item, (at) => at === goal ? at : -1, run);
  return (at) => {
    const was = goal;
    goal = at;
    let found = false;
    for (let [from, count] = [at, 0]; count <= max && !found; count++) {
      spend(run, 1);
      if (count >= min) found = inner(from) >= 0;
      if (from === 0) break;
      from -= widthBefore(run.text, from);
    }
    goal = was;
    return found;
  };
}

/** The fewest and the most characters that a pattern takes. */
function lengths(pattern: Pattern): [number, number] {
  if (pattern.type === "set") return [1, 1];
  if (pattern.type === "atomic") return lengths(pattern.item);
  if (pattern.type === "repeat") {
    const [min, max] = lengths(pattern.item);
    return [min * pattern.min, max === 0 ? 0 : max * pattern.max];
  }
  if (pattern.type !== "sequence" && pattern.type !== "choice") return [0, 0];
  const all = pattern.items.map(lengths);
  return pattern.type === "sequence"
    ? [all.reduce((sum, [min]) => sum + min, 0), all.reduce((sum, [, max]) => sum + max, 0)]
    : [Math.min(...all.map(([min]) => min)), Math.max(...all.map(([, max]) => max))];
}

const isWord = membership({ type: "set", source: WORD, ignoreCase: false });

function isEdge(text: string, at: number): boolean {
  const before = at > 0 && isWord(text.codePointAt(at - widthBefore(text, at))!);
  const after = at < text.length && isWord(text.codePointAt(at)!);
  return before !== after;
}

const anchors: Record<Anchor, (text: string, at: number) => boolean> = {
  "line start": (text, at) => at === 0 || text[at - 1] === "\n",
  "line end": (text, at) => at === text.length || text[at] === "\n",
  "text start": (_, at) => at === 0,
  "text end": (text, at) => at === text.length,
  "last line end": (text, at) =>
    at === text.length || (text[at] === "\n" && at + 1 === text.length),
  "word edge": isEdge,
  "no word edge": (text, at) => !isEdge(text, at),
};

/** Whether a set has a character, by JavaScript's own engine on that one character; remembered. */
function membership({ source, ignoreCase }: CharacterSet): (point: number) => boolean {
  const one = new RegExp(`^${source}$`, ignoreCase ? "vi" : "v");
  const low = new Uint8Array(KNOWN_POINTS); // 0 not asked yet, 1 no, 2 yes
  const high = new Map<number, boolean>();
  return (point) => {
    if (point < KNOWN_POINTS) {
      return (low[point] ||= one.test(String.fromCodePoint(point)) ? 2 : 1) === 2;
    }
    let has = high.get(point);
    if (has === undefined) high.set(point, has = one.test(String.fromCodePoint(point)));
    return has;
  };
}

function widthOf(point: number): number {
  return point > 0xffff ? 2 : 1;
}

function widthAt(text: string, at: number): number {
  return at < text.length ? widthOf(text.codePointAt(at)!) : 1;
}

function widthBefore(text: string, at: number): number {
  return at > 1 && text.codePointAt(at - 2)! > 0xffff ? 2 : 1;
}
