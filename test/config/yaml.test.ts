import t from 'tap';
import { nearest } from '../../src/config/nearest.js';
import { readYaml } from '../../src/config/yaml.js';
import { InputErrors } from '../../src/errors.js';

t.test('entries carry their line, sections open one level', async (t) => {
  const text = '# a comment\nbeta: 0.1\n\nmodel:\n  torch_dtype: bfloat16\n\nlist: [1, 2]\nempty:\n';
  t.same(readYaml(text, 'x.yaml', ['model']), [
    { key: 'beta', path: ['beta'], value: 0.1, line: 2 },
    { key: 'torch_dtype', path: ['model', 'torch_dtype'], value: 'bfloat16', line: 5 },
    { key: 'list', path: ['list'], value: [1, 2], line: 7 },
    { key: 'empty', path: ['empty'], value: null, line: 8 },
  ]);
  t.same(readYaml('# nothing\n', 'x.yaml', []), []);
});

t.test('an alias gives the value of its anchor', async (t) => {
  const [, second] = readYaml('beta: &b 0.25\nepsilon: *b\n', 'x.yaml', []);
  t.equal(second!.value, 0.25);
});

t.test('YAML 1.2 numbers', async (t) => {
  t.same(readYaml('a: 5e-7\nb: 1.0e-6\nc: 007\nd: "5e-7"\n', 'x', []).map((e) => e.value), [5e-7, 1e-6, 7, '5e-7']);
});

t.test('every break is named with its line', async (t) => {
  try {
    readYaml('beta: 0.1\nbeta: 0.2\nlearning_rate: [1, 2\nseed: 1\n', 'x.yaml', []);
    t.fail('broken YAML was read');
  } catch (error) {
    t.type(error, InputErrors);
    const { problems } = error as InputErrors;
    t.ok(problems.some((p) => p.startsWith('line 2, column 1: ')), 'the doubled key');
    t.ok(problems.some((p) => /^line [34], /.test(p)), 'the open list');
    t.ok(problems.every((p) => !p.includes('\n')));
  }
  t.throws(() => readYaml('- beta\n', 'x.yaml', []), { message: 'x.yaml: expected keys and values at the top, got a list', exitCode: 2 });
});

t.test('nearest word', async (t) => {
  const known = ['learning_rate', 'label_smoothing', 'beta', 'beta_min', 'epsilon', 'save_steps'];
  t.equal(nearest('learning_rat', known), 'learning_rate');
  t.equal(nearest('learning-rate', known), 'learning_rate');
  t.equal(nearest('Beta', known), 'beta');
  t.equal(nearest('epsiloon', known), 'epsilon');
  t.equal(nearest('svae_steps', known), 'save_steps', 'neighbours swapped');
  t.equal(nearest('warmup', known), undefined, 'nothing near');
});
