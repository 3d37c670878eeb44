// SPDX-License-Identifier: MIT
// The part of vs_onnxruntime.sh that measures. The two sides take turns in blocks (ours, theirs, theirs,
// ours, ...); a pair of neighbouring blocks gives one ratio, so that drift of the machine hits both.
'use strict';
const { spawnSync } = require('child_process');
const fs = require('fs');
const path = require('path');

const INPUTS = { resnet20: [3, 32, 32], lenet5: [1, 28, 28] };
const CLASSES = 10;
const N_INPUTS = 64; // images that a side goes through in turn, as `pare bench` does

class Refusal extends Error {}

function parse(argv) {
  const options = { models: null, format: 'table', blocks: 5, seconds: 0.2, pare: null, check: false,
    network: [], precision: [], batch: [], threads: [] };
  const number = (name, text, least) => {
    const value = Number(text);
    if (!(value >= least) || value > 1e6) throw new Refusal(`--${name} is ${text}, wanted a number of at least ${least}`);
    return value;
  };
  const whole = (name, text, most) => {
    const value = number(name, text, 1);
    if (!Number.isInteger(value) || value > most) throw new Refusal(`--${name} is ${text}, wanted 1..${most}`);
    return value;
  };
  const one = (name, text, wanted) => {
    if (!wanted.includes(text)) throw new Refusal(`--${name} is "${text}", wanted ${wanted.join(' or ')}`);
    return text;
  };
  for (let i = 0; i < argv.length; i++) {
    const name = argv[i].startsWith('--') ? argv[i].slice(2) : '';
    if (name === 'check') { options.check = true; continue; }
    const text = argv[++i];
    if (text === undefined && name in options) throw new Refusal(`--${name} needs a value`);
    switch (name) {
      case 'models': case 'pare': options[name] = text; break;
      case 'format': options.format = one(name, text, ['table', 'csv']); break;
      case 'blocks': options.blocks = whole(name, text, 1000); break;
      case 'seconds': options.seconds = number(name, text, 0.01); break;
      case 'network': options.network.push(one(name, text, Object.keys(INPUTS))); break;
      case 'precision': options.precision.push(one(name, text, ['fp32', 'int8'])); break;
      case 'batch': options.batch.push(whole(name, text, N_INPUTS)); break;
      case 'threads': options.threads.push(whole(name, text, 1024)); break;
      default: throw new Refusal(`${argv[i - 1]} is not known; --help says what there is`);
    }
  }
  const or = (list, all) => (list.length ? [...new Set(list)] : all);
  options.network = or(options.network, Object.keys(INPUTS));
  options.precision = or(options.precision, ['fp32', 'int8']);
  options.batch = or(options.batch, [1, 64]);
  options.threads = or(options.threads, [1, 2]);
  return options;
}

function findModels(options) {
  if (!options.models) throw new Refusal('--models is missing, wanted the folder with the ONNX files');
  let names;
  try {
    names = fs.readdirSync(options.models);
  } catch (error) {
    throw new Refusal(`--models: cannot read the folder ${options.models} (${error.code})`);
  }
  const found = {};
  for (const network of options.network) {
    for (const precision of options.precision) {
      const fits = names.filter((n) => n.startsWith(network) && n.includes(precision) && n.endsWith('.onnx'));
      if (fits.length !== 1) {
        throw new Refusal(`${options.models} holds ${fits.length} files ${network}*${precision}*.onnx, wanted 1`);
      }
      found[`${network} ${precision}`] = path.join(options.models, fits[0]);
    }
  }
  return found;
}

// ---- statistics ----

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
const least = (values) => values.reduce((a, b) => Math.min(a, b));
const most = (values) => values.reduce((a, b) => Math.max(a, b));

// ---- theirs ----

function randomImages(ort, shape, batch) {
  const tensors = [];
  for (let first = 0; first + batch <= N_INPUTS; first += batch) {
    const data = new Float32Array(batch * shape.reduce((a, b) => a * b));
    for (let i = 0; i < data.length; i++) data[i] = Math.random() * 4 - 2;
    tensors.push(new ort.Tensor('float32', data, [batch, ...shape]));
  }
  return tensors;
}

// A model of one Identity node, as ONNX's protobuf has it: what a call costs that computes nothing.
function identityModel() {
  const text = (s) => Buffer.from(s);
  const field = (number, bytes) => Buffer.concat([Buffer.from([number * 8 + 2, bytes.length]), bytes]);
  const integer = (number, value) => Buffer.from([number * 8, value]);
  const value = (name) => Buffer.concat([field(1, text(name)), field(2, field(1, integer(1, 1)))]);
  const node = Buffer.concat([field(1, text('x')), field(2, text('y')), field(4, text('Identity'))]);
  const graph = Buffer.concat([field(1, node), field(2, text('g')), field(11, value('x')), field(12, value('y'))]);
  return Buffer.concat([integer(1, 8), field(7, graph), field(8, integer(2, 13))]);
}

async function openSession(ort, model, threads) {
  return ort.InferenceSession.create(model, {
    executionProviders: ['cpu'], graphOptimizationLevel: 'all', executionMode: 'sequential',
    intraOpNumThreads: threads, interOpNumThreads: 1, logSeverityLevel: 3,
  });
}

// Times of single runs, in ns: at least `seconds` long and 10 runs, after a warm-up of a quarter of that.
async function timeSession(session, tensors, seconds) {
  const name = session.inputNames[0];
  const times = [];
  const begin = process.hrtime.bigint();
  const warm = begin + BigInt(Math.round(seconds * 0.25e9));
  const end = begin + BigInt(Math.round(seconds * 1.25e9));
  for (let i = 0, now = begin; now < end || times.length < 10; i++) {
    const feeds = { [name]: tensors[i % tensors.length] };
    const start = process.hrtime.bigint();
    await session.run(feeds);
    now = process.hrtime.bigint();
    if (start >= warm) times.push(Number(now - start));
  }
  return { median: median(times), min: least(times) };
}

// No timing of a model that does not give logits.
async function checkSession(session, tensors, model) {
  const result = (await session.run({ [session.inputNames[0]]: tensors[0] }))[session.outputNames[0]];
  const batch = tensors[0].dims[0];
  const values = Array.from(result.data);
  if (result.dims.join('x') !== `${batch}x${CLASSES}`) {
    throw new Refusal(`${model}: the output is ${result.dims.join('x')}, wanted ${batch}x${CLASSES}`);
  }
  if (!values.every(Number.isFinite) || new Set(values).size < 3) {
    throw new Refusal(`${model}: the outputs are not finite, or all alike`);
  }
}

// ---- ours ----

// The cells of one line of CSV; quoted ones may hold commas and doubled quotes.
function cellsOf(line) {
  return (line.match(/("([^"]|"")*"|[^,]*)(,|$)/g) || []).slice(0, line.endsWith(',') ? undefined : -1)
    .map((cell) => cell.replace(/,$/, '').replace(/^"(.*)"$/, '$1').replaceAll('""', '"'));
}

function timePare(options, arm) {
  const args = ['bench', '--model', arm.network, '--input', INPUTS[arm.network].join('x'), '--backend', 'x86',
    '--precision', arm.precision, '--threads', arm.threads, '--batch', arm.batch, '--profile', 'quick',
    '--format', 'csv'].map(String);
  const done = spawnSync(options.pare, args, { encoding: 'utf8' });
  if (done.error || done.status !== 0) {
    throw new Refusal(`pare bench failed: ${done.error ? done.error.message : done.stderr.trim()}`);
  }
  const [head, row] = done.stdout.trim().split('\n').map(cellsOf);
  const column = (name) => row[head.indexOf(name)];
  const expected = arm.precision === 'int8' ? 'integer' : 'float';
  if (head.length !== row.length || column('execution') !== expected) {
    throw new Refusal(`pare bench: execution is ${column('execution')}, wanted ${expected}`);
  }
  return { median: Number(column('median_ns')), min: Number(column('min_ns')), isa: column('isa') };
}

// ---- both ----

async function compare(ort, options, arm, model) {
  const tensors = randomImages(ort, INPUTS[arm.network], arm.batch);
  const session = await openSession(ort, model, arm.threads);
  const empty = await openSession(ort, identityModel(), 1);
  await checkSession(session, tensors, model);
  const call = await timeSession(empty, tensors, options.seconds / 4);
  const ours = [];
  const theirs = [];
  for (let block = 0; block < options.blocks; block++) {
    if (block % 2 === 0) ours.push(timePare(options, arm));
    theirs.push(await timeSession(session, tensors, options.seconds));
    if (block % 2 === 1) ours.push(timePare(options, arm));
  }
  await session.release();
  await empty.release();
  const of = (list, key) => list.map((block) => block[key]);
  const ratios = ours.map((o, i) => o.median / theirs[i].median);
  const [ourMin, theirMin] = [least(of(ours, 'min')), least(of(theirs, 'min'))];
  return { ...arm, isa: ours[0].isa, blocks: options.blocks,
    ours_median_ns: median(of(ours, 'median')), theirs_median_ns: median(of(theirs, 'median')),
    ratio: median(ratios), ratio_lo: least(ratios), ratio_hi: most(ratios),
    ours_min_ns: ourMin, theirs_min_ns: theirMin, ratio_min: ourMin / theirMin,
    theirs_call_ns: call.min, ratio_min_net: ourMin / Math.max(theirMin - call.min, 1) };
}

const COLUMNS = ['network', 'precision', 'batch', 'threads', 'isa', 'blocks', 'ours_median_ns',
  'theirs_median_ns', 'ratio', 'ratio_lo', 'ratio_hi', 'ours_min_ns', 'theirs_min_ns', 'ratio_min',
  'theirs_call_ns', 'ratio_min_net'];

function csvLine(row) {
  return COLUMNS.map((name) => {
    const value = row[name];
    return name.startsWith('ratio') ? value.toFixed(4) : typeof value === 'number' ? Math.round(value) : value;
  }).join(',');
}

const WIDTHS = [-9, -5, 6, 8, 10, 10, 6, 14, 10, 10, 7, 9];
const HEAD = ['network', '', 'batch', 'threads', 'ours', 'theirs', 'ratio', 'blocks', 'min ours', 'min theirs',
  'ratio', 'net ratio'];

function tableLine(cells) {
  return cells.map((cell, i) => (WIDTHS[i] < 0 ? String(cell).padEnd(-WIDTHS[i]) : String(cell).padStart(WIDTHS[i])))
    .join(' ').trimEnd();
}

function tableRow(row) {
  const ms = (ns) => (ns / 1e6).toPrecision(3);
  const two = (x) => x.toFixed(2);
  return tableLine([row.network, row.precision, row.batch, row.threads, ms(row.ours_median_ns),
    ms(row.theirs_median_ns), two(row.ratio), `${two(row.ratio_lo)}..${two(row.ratio_hi)}`, ms(row.ours_min_ns),
    ms(row.theirs_min_ns), two(row.ratio_min), two(row.ratio_min_net)]);
}

async function main() {
  const options = parse(process.argv.slice(2));
  const models = findModels(options);
  if (options.check) return;
  const ort = require('onnxruntime-node');
  const csv = options.format === 'csv';
  if (csv) {
    console.log(COLUMNS.join(','));
  } else {
    const { version } = require('onnxruntime-node/package.json');
    console.log(`ours: pare bench --backend x86; theirs: ONNX Runtime ${version}; milliseconds for a batch`);
    console.log(tableLine(HEAD));
  }
  for (const network of options.network) {
    for (const precision of options.precision) {
      for (const batch of options.batch) {
        for (const threads of options.threads) {
          const arm = { network, precision, batch, threads };
          const row = await compare(ort, options, arm, models[`${network} ${precision}`]);
          console.log(csv ? csvLine(row) : tableRow(row));
        }
      }
    }
  }
}

main().catch((error) => {
  console.error(`vs_onnxruntime: ${error instanceof Refusal ? error.message : error.stack}`);
  process.exit(error instanceof Refusal ? 2 : 1);
});
