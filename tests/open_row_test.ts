/** Claims about lib/open_row.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatNames } from "../lib/format.ts";
import { rowEnergies } from "../lib/layer_error.ts";
import { columnsOf, eachOpenRow, levelsAt, placesOf, putScale } from "../lib/open_row.ts";
import { dequantize, groupScales, quantize } from "../lib/quantizer.ts";
import { noChange } from "../lib/row_descent.ts";
import { gramOf } from "./made_moments.ts";
import { fill, normal } from "./random.ts";

const rows = 3, cols = 72, group = 32;
const w = fill(rows * cols, normal(1)), h = gramOf(cols, 300, 2);

for (const format of formatNames) {
  const q = quantize(w, { rows, cols, group, format });

  test(`rows that nobody changes stay, and know their error: ${format}`, () => {
    const energies = rowEnergies(dequantize(q).map((value, i) => value - w[i]), h);
    const same = eachOpenRow(q, w, h, ({ state: { d, r } }, row) => {
      const own = d.reduce((sum, error, j) => sum + error * r[j], 0);
      assert.ok(Math.abs(own / energies[row] - 1) < 1e-5, `${own}, ${energies[row]}`);
    });
    assert.deepEqual(same, q);
  });

  test(`levels times their scales are the weights, each column once: ${format}`, () => {
    const values = new Float32Array(rows * cols), v = noChange(cols);
    eachOpenRow(q, w, h, (row, index) => {
      for (const place of placesOf(row)) {
        const [start, count] = columnsOf(row, place);
        levelsAt(row, place, row.codes.subarray(start, start + count), v);
        const scale = row.scales[2 * place.group + place.side];
        for (let i = 0; i < v.count; i++) values[index * cols + v.columns[i]] += v.by[i] * scale;
      }
    });
    assert.deepEqual(values, dequantize(q));
  });

  test(`a scale that is put is the group's, and only its side's: ${format}`, () => {
    const put = eachOpenRow(q, w, h, (row, index) => {
      const [, second] = placesOf(row).filter(({ group }) => group === 1);
      if (index === 1) putScale(row, second ?? { group: 1, side: 0 }, 0.5);
    });
    const { positive, negative, zero } = groupScales(put, 1, 1), was = groupScales(q, 1, 1);
    const two = q.format.scaling === "two";
    assert.deepEqual([positive, negative, zero], [two ? was.positive : 0.5, 0.5, was.zero]);
    assert.deepEqual(groupScales(put, 1, 0), groupScales(q, 1, 0));
  });
}
