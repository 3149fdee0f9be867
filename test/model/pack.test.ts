import t from 'tap';
import { tileCapacity } from '../../src/gpu/ops/attention_tiles.js';
import { documentRows, pack, planMicroBatches, rotaryPositions } from '../../src/model/batch/pack.js';

t.test('a pair: shared prompt, restarting positions, both first labels from the last prompt row', async (t) => {
  const b = pack([{ id: 0, prompt: [1, 5], branches: [[7, 8, 2], [9, 2]] }]);
  t.same(b.values, { N: 7, S: 5, Q: 2, P: 1, U: 6, positions: 5, tiles: 3 });
  t.same([...b.tiles], [[0, 2, 0, 0, 0, 3, 0, 0], [2, 3, 0, 2, 2, 2, 0, 0], [5, 2, 0, 2, 5, 3, 0, 0]].flat(), 'prompt, chosen, rejected: first row, rows, prompt, branch, the tile behind those that see it');
  t.same([...b.ids], [1, 5, 7, 8, 2, 9, 2]);
  t.same([...b.position], [0, 1, 2, 3, 4, 2, 3]);
  t.same([...b.src], [1, 2, 3, 1, 5]);
  t.same([...b.labels], [7, 8, 2, 9, 2]);
  t.same([...b.seqOf], [0, 0, 0, 1, 1]);
  t.same([...b.seqStart], [0, 3, 5]);
  t.same([...b.span.subarray(4, 8)], [0, 0, 0, 7], 'a prompt row is seen to the end of the document');
  t.same([...b.span.subarray(20, 24)], [0, 2, 5, 7], 'a rejected row sees the prompt and its own branch');
  t.same([...b.gatherOffsets], [0, 0, 2, 3, 4, 4, 5, 5]);
  t.same([...b.gatherList], [0, 3, 1, 2, 4]);
  t.same([...b.uniqueIds], [1, 2, 5, 7, 8, 9]);
  t.same([...b.uniqueOffsets], [0, 1, 3, 4, 5, 6, 7]);
  t.same([[...b.uniquePositions], [...b.positionOffsets], [...b.positionRows]], [[0, 1, 2, 3, 4], [0, 1, 2, 4, 6, 7], [0, 1, 2, 5, 3, 6, 4]]);
  t.same([...rotaryPositions(b, 4, 100)], [100, 101, 102, 103, 104, 102, 103], 'a document with a sequence of more than four tokens: all its rows');
  t.same([...rotaryPositions(b, 5, 100)], [...b.position]);
  t.same([...b.uniqueRows], [0, 4, 6, 1, 2, 3, 5]);
});

t.test('what a row may see is the same by span and by definition', async (t) => {
  const documents = [
    { id: 0, prompt: [1, 2, 3], branches: [[4, 5], [6], [7, 8, 9]] },
    { id: 1, prompt: [1], branches: [[2, 3]] },
  ];
  const b = pack(documents);
  const owner: Array<[number, number]> = [];
  documents.forEach((d, i) => {
    d.prompt.forEach(() => owner.push([i, -1]));
    d.branches.forEach((branch, k) => branch.forEach(() => owner.push([i, k])));
  });
  for (let i = 0; i < b.values.N; i++) {
    for (let j = 0; j < b.values.N; j++) {
      const want = j <= i && owner[i]![0] === owner[j]![0] && (owner[j]![1] === -1 || owner[j]![1] === owner[i]![1]);
      const [ps, pe, bs] = b.span.subarray(i * 4, i * 4 + 3) as unknown as [number, number, number];
      const forward = (j >= ps && j < pe) || (j >= bs && j <= i);
      const backward = i >= j && i < b.span[j * 4 + 3]! && forward;
      if (forward !== want || backward !== want) t.fail(`row ${i} and key ${j}: ${forward}, ${backward}, want ${want}`);
    }
  }
  t.pass('all pairs of rows');
});

t.test('attention’s tiles: each pair of rows that see each other is in exactly the tiles that meet, whatever else is packed', async (t) => {
  const own = { id: 0, prompt: new Array(130).fill(1), branches: [new Array(64).fill(2), new Array(65).fill(3), [4]] };
  const small = { id: 1, prompt: [1], branches: [[2, 3]] };
  const b = pack([small, own, small]);
  const tiles = Array.from({ length: b.values.tiles }, (_, i) => [...b.tiles.subarray(8 * i, 8 * i + 6)] as [number, number, number, number, number, number]);
  t.same(tiles.slice(2, 9).map(([first, count]) => [first - 3, count]), [[0, 64], [64, 64], [128, 2], [130, 64], [194, 64], [258, 1], [259, 1]], 'from the document’s own rows on');
  const tileOf = (row: number): number => tiles.findIndex(([first, count]) => row >= first && row < first + count);
  for (let i = 0; i < b.values.N; i++) {
    const [first, count, promptStart, promptEnd, branchStart] = tiles[tileOf(i)]!;
    for (let j = 0; j < b.values.N; j++) {
      const [ps, pe, bs] = b.span.subarray(i * 4, i * 4 + 3) as unknown as [number, number, number];
      const sees = (j >= ps && j < pe) || (j >= bs && j <= i);
      const asQuery = (j >= promptStart && j < promptEnd) || (j >= branchStart && j < first + count && j <= i);
      const asKey = tileOf(i) >= tileOf(j) && tileOf(i) < tiles[tileOf(j)]![5];
      if (sees !== asQuery || (sees && !asKey)) t.fail(`row ${i} and key ${j}: ${sees}, ${asQuery}, ${asKey}`);
    }
  }
  t.ok(b.values.tiles <= tileCapacity(b.values.N, b.values.Q));
});

t.test('prompt rows scored on request', async (t) => {
  const b = pack([{ id: 0, prompt: [1, 5, 6], branches: [[7]] }], true);
  t.same([...b.src], [2, 0, 1], 'the branch first, the prompt as a sequence of its own');
  t.same([...b.labels], [7, 5, 6]);
  t.same([...b.seqOf], [0, 1, 1]);
  t.same([...b.seqStart], [0, 1, 3]);
  t.equal(b.values.Q, 2);
});

t.test('micro-batches: within capacity, everything once, too long is an error that names the pair', async (t) => {
  const sizes = Array.from({ length: 40 }, (_, i) => ({ rows: 3 + ((i * 37) % 50), sequences: 2, id: i + 100 }));
  const plan = planMicroBatches(sizes, { rows: 64, sequences: 6 });
  t.same(plan.flat().sort((a, b) => a - b), sizes.map((_, i) => i));
  for (const bin of plan) {
    t.ok(bin.reduce((n, i) => n + sizes[i]!.rows, 0) <= 64 && bin.length <= 3);
    t.same(bin, [...bin].sort((a, b) => a - b));
  }
  t.throws(() => planMicroBatches([{ rows: 65, sequences: 2, id: 7 }], { rows: 64, sequences: 6 }), /pair 7 takes 65 rows/);
  t.throws(() => pack([{ id: 3, prompt: [], branches: [[1]] }]), /pair 3 has an empty prompt/);
  t.equal(documentRows({ id: 0, prompt: [1], branches: [[2], [3]] }), 3);
});
