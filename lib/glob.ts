/**
 * Globs over tensor names: `*` any run of characters (dots too), `?` any one, `[a-c7]` and `[!0-9]`
 * one of or none of a set; all else stands for itself. Matched by two pointers in length of name x
 * length of glob steps at most: a glob is user input, a name may be a stranger's, and no regular
 * expression is made of either.
 *
 * @module
 */

/** One place of a glob: any run, or one character that passes. */
type Token = "run" | ((character: string) => boolean);

/**
 * Whether a name matches a glob.
 *
 * @example
 * ```ts
 * import { globMatcher } from "./glob.ts";
 * import assert from "node:assert/strict";
 *
 * const matches = globMatcher("model.layers.[0-3].*proj.weight");
 * assert.equal(matches("model.layers.2.mlp.up_proj.weight"), true);
 * assert.equal(matches("model.layers.7.mlp.up_proj.weight"), false);
 * ```
 */
export function globMatcher(glob: string): (name: string) => boolean {
  const tokens = tokenize(glob);
  return (name) => matchTokens(tokens, [...name]);
}

function tokenize(glob: string): Token[] {
  const parts = glob.match(/\[!?[^][^\]]*\]|[^]/gu) ?? [];
  return parts.map((part): Token => {
    if (part === "*") return "run";
    if (part === "?") return () => true;
    if (part.length > 2 && part.startsWith("[")) return characterSet(part.slice(1, -1));
    return (character) => character === part;
  });
}

/** `a-c7` or `!a-c7`, a range being two ends and a dash between. */
function characterSet(set: string): (character: string) => boolean {
  const negated = set.startsWith("!");
  const characters = [...set.slice(Number(negated))];
  const ranges: [string, string][] = [];
  while (characters.length > 0) {
    const [from, dash, to] = characters;
    const isRange = dash === "-" && to !== undefined;
    ranges.push([from, isRange ? to : from]);
    characters.splice(0, isRange ? 3 : 1);
  }
  return (character) =>
    ranges.some(([from, to]) => from <= character && character <= to) !== negated;
}

/** Goes back only to the last `*`, and there one character on. */
function matchTokens(tokens: Token[], name: string[]): boolean {
  let [t, c, run, retry] = [0, 0, -1, 0];
  while (c < name.length) {
    const token = tokens[t];
    if (token === "run") {
      run = t++;
      retry = c;
    } else if (token?.(name[c])) {
      t++;
      c++;
    } else if (run >= 0) {
      t = run + 1;
      c = ++retry;
    } else {
      return false;
    }
  }
  return tokens.slice(t).every((token) => token === "run");
}
