/**
 * Fragments, what matrix units multiply: [side, side] by [side, side] of f16, summed in f32. Kernels are
 * written for the sides below; an adapter says which of them it has, and the device then has a trait by
 * which kernels/parts/fragment comes in that size. A subgroup owns 1 to 2 x 4 of them.
 *
 * @module
 */

/** Sides that kernels are written for, the most wanted first. */
const SIDES = [16, 8];

const traitOf = (side: number) => `fragments of ${side}`;

/** Side of the fragments that a device's kernels use, 0 where it shows none of theirs. */
export function fragmentSide(features: ReadonlySet<string>): number {
  return SIDES.find((side) => features.has(traitOf(side))) ?? 0;
}

/** Whether tiles can be shared out among subgroups of so many lanes, by their fragments. */
export function sharesOut(side: number, subgroupSize: number): boolean {
  return subgroupSize >= side ** 2 / 8 && subgroupSize <= 4 * side;
}

/** Traits of an adapter by the fragments it says that it has. */
export function fragmentTraits({ info }: GPUAdapter): string[] {
  const configs = [...(info as MatrixInfo).subgroupMatrixConfigs ?? []];
  const shown = (side: number) =>
    configs.some(({ M, N, K, componentType, resultComponentType }) =>
      M === side && N === side && K === side && componentType === "f16" &&
      resultComponentType === "f32"
    );
  return SIDES.filter(shown).map(traitOf);
}

type MatrixInfo = GPUAdapterInfo & { subgroupMatrixConfigs?: Iterable<MatrixConfig> };

/** One kind of fragments: [M, K] by [K, N] of components give results [M, N]. */
interface MatrixConfig {
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly componentType: string;
  readonly resultComponentType: string;
}
