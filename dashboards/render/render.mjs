// Renders Grafana dashboards with Grafana's own libraries in headless Chromium
// against a live Prometheus, one picture per dashboard, and fails when a query
// errs or has no data anywhere in the time shown. With --moment the pictures
// get its name. --partial is for a time in which not every query has data yet;
// --annotated fails when an annotation marks nothing.
//
//   node render.mjs --prometheus URL --out DIR [--minutes 10] [--until UNIX_SECONDS] [--scrape 1] [--theme light] [--moment NAME] [--partial] [--annotated] [--chromium PATH] DASHBOARD.json ...
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import puppeteer from 'puppeteer-core';

const { values: flag, positionals: files } = parseArgs({
  allowPositionals: true,
  options: {
    prometheus: { type: 'string' }, out: { type: 'string' },
    minutes: { type: 'string', default: '10' }, // the time shown
    until: { type: 'string' }, // its end; now when left out
    scrape: { type: 'string', default: '1' }, // Prometheus' scrape interval in seconds
    chromium: { type: 'string', default: '/usr/bin/chromium' },
    theme: { type: 'string', default: 'dark' },
    moment: { type: 'string', default: '' },
    partial: { type: 'boolean', default: false },
    annotated: { type: 'boolean', default: false },
  },
});
if (!flag.prometheus || !flag.out || files.length === 0) {
  console.error('render: want --prometheus URL --out DIR and at least one dashboard');
  process.exit(2);
}
fs.mkdirSync(flag.out, { recursive: true });

const here = path.dirname(fileURLToPath(import.meta.url));
const bundle = await build({
  entryPoints: [path.join(here, 'panels.tsx')], bundle: true, write: false, outfile: 'panels.js', format: 'iife', minify: true,
  loader: { '.svg': 'dataurl', '.woff2': 'dataurl', '.woff': 'dataurl', '.ttf': 'dataurl' }, logLevel: 'error',
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
});
const assets = Object.fromEntries(bundle.outputFiles.map((f) => ['/' + path.basename(f.path), f.contents]));
const now = flag.until ? Number(flag.until) * 1e3 : Date.now();
const settings = { to: now, from: now - Number(flag.minutes) * 60e3, scrape: Number(flag.scrape), theme: flag.theme };

let board = '';
const types = { '.js': 'text/javascript', '.css': 'text/css' };
const server = http.createServer((req, res) => {
  if (req.url.startsWith('/prom/')) {
    http.get(flag.prometheus + req.url.slice('/prom'.length), (from) => { res.writeHead(from.statusCode, from.headers); from.pipe(res); })
      .on('error', (err) => { res.writeHead(502); res.end(String(err)); });
    return;
  }
  const served = {
    '/': ['text/html', '<!doctype html><link rel="stylesheet" href="/panels.css"><style>body{margin:0;font-family:Inter,sans-serif}*{box-sizing:border-box}button{color:inherit}</style><div id="root"></div><script src="/panels.js"></script>'],
    '/board.json': ['application/json', board],
    '/settings.json': ['application/json', JSON.stringify(settings)],
  }[req.url] ?? (assets[req.url] && [types[path.extname(req.url)], assets[req.url]]);
  if (!served) { res.writeHead(404); res.end(); return; }
  res.writeHead(200, { 'content-type': served[0] });
  res.end(served[1]);
});
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));

const browser = await puppeteer.launch({ executablePath: flag.chromium, args: ['--no-sandbox', '--disable-gpu'], timeout: 120e3 });
let faults = 0;
try {
  for (const file of files) {
    board = fs.readFileSync(file);
    const page = await browser.newPage();
    await page.setViewport({ width: 1440, height: 900 });
    const errors = [];
    page.on('pageerror', (err) => errors.push(`page: ${String(err).slice(0, 400)}`));
    await page.goto(`http://127.0.0.1:${server.address().port}/`, { timeout: 120e3 });
    await page.waitForFunction('window.rendered && window.rendered.done', { timeout: 180e3 });
    const { panels, annotations, errors: own } = await page.evaluate('window.rendered');
    errors.push(...own);
    if (!flag.partial) for (const p of panels) for (const q of p.queries) if (q.samples === 0) errors.push(`${p.title}: query ${q.refId} has no data: ${q.expr}`);
    if (flag.annotated) for (const a of annotations) if (a.times.length === 0) errors.push(`annotation ${a.name} marks nothing`);
    const name = path.basename(file, '.json') + (flag.moment && `-${flag.moment}`);
    const picture = path.join(flag.out, `${name}-${flag.theme}.png`);
    await page.screenshot({ path: picture, fullPage: true });
    fs.writeFileSync(path.join(flag.out, `${name}.report.json`), JSON.stringify({ panels, annotations, errors }, null, 1));
    const count = (f) => panels.reduce((sum, p) => sum + p.queries.reduce((s, q) => s + f(q), 0), 0);
    console.log(`${name}: ${panels.length} panels, ${count(() => 1)} queries, ${count((q) => q.series)} series, ${count((q) => q.samples)} samples; ` +
      `${annotations.map((a) => `${a.name} ${a.times.length}`).join(', ')}; ${errors.length} faults; ${picture}`);
    for (const e of errors) console.log(`  ${e}`);
    faults += errors.length;
    await page.close();
  }
} finally {
  await browser.close();
  server.close();
}
process.exit(faults > 0 ? 1 : 0);
