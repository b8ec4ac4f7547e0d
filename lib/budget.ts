/**
 * Which of several options each item takes, so that together they cost no more than a budget and lose
 * as little as can be: from the cheapest on, the step that saves most for what it costs, as long as one
 * fits (a greedy walk along the items' convex hulls, which is optimal but for the last step).
 *
 * @module
 */

/** What an item may take. */
export interface Option {
  readonly cost: number;
  readonly loss: number;
}

/**
 * The place of each item's option; null where even the cheapest cost more than the budget.
 *
 * @example Usage
 * ```ts
 * import { spend } from "./budget.ts";
 * import assert from "node:assert/strict";
 *
 * const items = [[{ cost: 1, loss: 9 }, { cost: 2, loss: 1 }], [{ cost: 1, loss: 2 }, { cost: 2, loss: 1 }]];
 * assert.deepEqual(spend(items, 3), [1, 0]);
 * ```
 */
export function spend(items: readonly (readonly Option[])[], budget: number): number[] | null {
  const chosen = items.map((options) => {
    return bestOf(
      options,
      ({ cost, loss }, best) => cost < best.cost || (cost === best.cost && loss < best.loss),
    );
  });
  let left = budget - items.reduce((sum, options, i) => sum + options[chosen[i]].cost, 0);
  if (left < 0) return null;
  while (true) {
    let best: { item: number; option: number } | null = null, most = 0;
    for (const [item, options] of items.entries()) {
      const now = options[chosen[item]];
      for (const [option, { cost, loss }] of options.entries()) {
        const more = cost - now.cost, saved = now.loss - loss;
        if (!(saved > 0) || more > left) continue;
        const worth = more <= 0 ? Infinity : saved / more;
        if (worth > most) [best, most] = [{ item, option }, worth];
      }
    }
    if (best === null) return chosen;
    left -= items[best.item][best.option].cost - items[best.item][chosen[best.item]].cost;
    chosen[best.item] = best.option;
  }
}

/** The place of the best of some. */
function bestOf<T>(all: readonly T[], better: (one: T, best: T) => boolean): number {
  return all.reduce((best, one, i) => better(one, all[best]) ? i : best, 0);
}
