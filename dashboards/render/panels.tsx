// The page that render.mjs opens: draws each panel of a dashboard as Grafana
// does, with @grafana/data's field pipeline and @grafana/ui's components.
import React from 'react';
import { createRoot } from 'react-dom/client';
import {
  applyFieldOverrides, createTheme, DataFrame, dateTime, FieldConfigOptionsRegistry, FieldType, getDisplayProcessor, getFieldDisplayValues,
  identityOverrideProcessor, numberOverrideProcessor, standardFieldConfigEditorRegistry, ThemeContext, thresholdsOverrideProcessor,
  toDataFrame, unitOverrideProcessor, valueMappingsOverrideProcessor, displayNameOverrideProcessor, VizOrientation,
} from '@grafana/data';
import { BarGauge, BigValue, BigValueColorMode, BigValueGraphMode, BigValueJustifyMode, BigValueTextMode, LegendDisplayMode, PanelChrome, PortalContainer, TimeSeries, VizRepeater } from '@grafana/ui';

const processors: any = {
  unit: unitOverrideProcessor, min: numberOverrideProcessor, max: numberOverrideProcessor, decimals: numberOverrideProcessor,
  thresholds: thresholdsOverrideProcessor, mappings: valueMappingsOverrideProcessor, displayName: displayNameOverrideProcessor,
  color: identityOverrideProcessor, noValue: identityOverrideProcessor, links: identityOverrideProcessor,
};
const custom = ['lineWidth', 'fillOpacity', 'fillBelowTo', 'lineStyle', 'drawStyle', 'stacking', 'showPoints', 'scaleDistribution', 'axisSoftMin', 'axisSoftMax', 'thresholdsStyle', 'lineInterpolation'];
const option = (id: string, path: string, isCustom: boolean, process: any) => ({ id, path, name: id, isCustom, process, shouldApply: () => true, editor: () => null, override: () => null });
standardFieldConfigEditorRegistry.setInit(() => Object.keys(processors).map((id) => option(id, id, false, processors[id])) as any);

const rendered: any = { panels: [], annotations: [], errors: [] };
(window as any).rendered = rendered;
type Vars = Record<string, string>;
// ${name}, ${name:format} and $name, as Grafana reads them; unknown names stay.
const fill = (text: string, vars: Vars) => text.replace(/\$\{(\w+)(?::\w+)?\}|\$(\w+)/g, (all, a, b) => vars[a ?? b] ?? all);

async function ask(path: string, args: Record<string, string>) {
  const reply = await (await fetch(`/prom/api/v1/${path}?${new URLSearchParams(args)}`)).json();
  if (reply.status !== 'success') throw new Error(reply.error ?? 'Prometheus said no');
  return reply.data;
}

async function variables(board: any, vars: Vars, s: any) {
  for (const v of board.templating?.list ?? []) {
    if (v.type === 'datasource') vars[v.name] = 'prometheus';
    else if (v.type !== 'query') vars[v.name] = v.current?.value ?? v.query;
    else {
      const text = typeof v.query === 'string' ? v.query : v.query.query;
      const m = /^label_values\((.+),\s*(\w+)\)$/.exec(fill(text, vars));
      if (!m) { rendered.errors.push(`variable ${v.name}: cannot read ${text}`); continue; }
      const found: string[] = await ask(`label/${m[2]}/values`, { 'match[]': m[1], start: String(s.from / 1e3), end: String(s.to / 1e3) });
      if (found.length === 0) rendered.errors.push(`variable ${v.name}: no values`);
      const want = v.current?.value;
      vars[v.name] = want === '$__all' ? v.allValue ?? found.join('|') : found.includes(want) ? want : found[0] ?? '';
    }
  }
}

async function frames(p: any, t: any, vars: Vars, s: any, step: number): Promise<{ frames: any[]; record: any }> {
  const expr = fill(t.expr, vars);
  const data = await ask('query_range', { query: expr, start: String(s.from / 1e3), end: String(s.to / 1e3), step: String(step) });
  const record = { refId: t.refId, expr: t.expr, series: data.result.length, samples: data.result.reduce((n: number, r: any) => n + r.values.length, 0) };
  let result = data.result;
  if (t.instant) {
    const at = await ask('query', { query: expr, time: String(s.to / 1e3) });
    const vector = at.resultType === 'scalar' ? [{ metric: {}, value: at.result }] : at.result;
    result = vector.map((r: any) => ({ metric: r.metric, values: [r.value] }));
  }
  // What is not finite is a gap in Grafana's frames too.
  const number = (text: string) => { const n = Number(text); return Number.isFinite(n) ? n : null; };
  const legend = (metric: any) => !t.legendFormat || t.legendFormat === '__auto' ? Object.values(metric).join(' ') || p.title
    : t.legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_: string, k: string) => metric[k] ?? '');
  return { record, frames: result.map((r: any) => {
    const at = new Map(r.values.map((v: any) => [Math.round(v[0] * 1e3), number(v[1])]));
    const times = t.instant ? [...at.keys()] : Array.from({ length: Math.floor((s.to - s.from) / step / 1e3) + 1 }, (_, i) => s.from + i * step * 1e3);
    const name = legend(r.metric);
    return toDataFrame({ refId: t.refId, name, fields: [
      { name: 'Time', type: FieldType.time, values: times },
      // A gap in the data stays a gap in the line.
      { name: 'Value', type: FieldType.number, labels: r.metric, values: times.map((x: any) => at.get(x) ?? null), config: { displayNameFromDS: name } },
    ] });
  }) };
}

function stat(p: any, data: DataFrame[], theme: any, replace: any, w: number, h: number) {
  const values = getFieldDisplayValues({ data, fieldConfig: p.fieldConfig, reduceOptions: p.options.reduceOptions, replaceVariables: replace, theme, timeZone: 'utc' });
  const o = p.options;
  return <VizRepeater source={values} getValues={() => values} width={w} height={h} orientation={VizOrientation.Auto} renderCounter={0} getAlignmentFactors={() => ({ title: '', text: '' })}
    renderValue={({ value, width, height }: any) => <BigValue theme={theme} width={width} height={height} value={value.display} count={values.length}
      colorMode={o.colorMode as BigValueColorMode} graphMode={BigValueGraphMode.None} justifyMode={BigValueJustifyMode.Auto} textMode={(o.textMode ?? 'auto') as BigValueTextMode} text={o.text} />} />;
}

function barGauge(p: any, data: DataFrame[], theme: any, replace: any, w: number, h: number) {
  const values = getFieldDisplayValues({ data, fieldConfig: p.fieldConfig, reduceOptions: p.options.reduceOptions, replaceVariables: replace, theme, timeZone: 'utc' });
  const longest = values.reduce((a: string, v: any) => ((v.display.title ?? '').length > a.length ? v.display.title : a), '');
  const text = values.reduce((a: string, v: any) => (v.display.text.length > a.length ? v.display.text : a), '');
  return <VizRepeater source={values} getValues={() => values} width={w} height={h} orientation={VizOrientation.Horizontal} renderCounter={0} itemSpacing={6} minVizHeight={p.options.minVizHeight} maxVizHeight={p.options.maxVizHeight}
    getAlignmentFactors={() => ({ title: longest, text })}
    renderValue={({ value, width, height, alignmentFactors }: any) => <BarGauge theme={theme} width={width} height={height} value={value.display} field={value.field} display={value.view?.getFieldDisplayProcessor(value.colIndex)}
      orientation={VizOrientation.Horizontal} displayMode={p.options.displayMode} namePlacement={p.options.namePlacement} alignmentFactors={alignmentFactors} itemSpacing={6} showUnfilled />} />;
}

// marks draws the annotations over a plot, as Grafana's plugin does.
function marks(config: any, annotations: any[]) {
  config.addHook('draw', (u: any) => {
    for (const a of annotations) for (const t of a.times) {
      const x = Math.round(u.valToPos(t, 'x', true));
      u.ctx.save(); u.ctx.strokeStyle = a.color; u.ctx.fillStyle = a.color; u.ctx.setLineDash([4, 3]); u.ctx.beginPath();
      u.ctx.moveTo(x, u.bbox.top); u.ctx.lineTo(x, u.bbox.top + u.bbox.height); u.ctx.stroke(); u.ctx.restore();
    }
  });
  return null;
}

function timeSeries(p: any, data: DataFrame[], s: any, annotations: any[], w: number, h: number) {
  const range = { from: dateTime(s.from), to: dateTime(s.to), raw: { from: 'now-1h', to: 'now' } };
  const legend = p.options?.legend ?? {};
  return <TimeSeries frames={data} timeRange={range as any} timeZone="utc" width={w} height={h} structureRev={1}
    legend={{ displayMode: LegendDisplayMode.List, placement: 'bottom', calcs: [], showLegend: legend.showLegend !== false } as any}>
    {(config: any) => marks(config, annotations)}
  </TimeSeries>;
}

async function run() {
  const [board, s] = await Promise.all(['/board.json', '/settings.json'].map(async (u) => (await fetch(u)).json()));
  const theme = createTheme({ colors: { mode: s.theme } });
  const step = Math.max(s.scrape, Math.ceil((s.to - s.from) / 1e3 / 400));
  s.from = Math.floor(s.from / 1e3 / step) * step * 1e3; s.to = Math.floor(s.to / 1e3 / step) * step * 1e3;
  const vars: Vars = { __rate_interval: `${Math.max(step + s.scrape, 4 * s.scrape)}s`, __interval: `${step}s`, __range: `${Math.round((s.to - s.from) / 1e3)}s` };
  await variables(board, vars, s);
  const replace = (t: string) => fill(t, vars);
  for (const a of board.annotations?.list ?? []) {
    if (!a.expr) continue;
    try {
      const data = await ask('query_range', { query: fill(a.expr, vars), start: String(s.from / 1e3), end: String(s.to / 1e3), step: String(step) });
      const at: number[] = data.result.flatMap((r: any) => r.values.map((v: any) => v[0] * 1e3));
      // Neighbouring samples are one event.
      rendered.annotations.push({ name: a.name, color: a.iconColor, times: at.filter((t, i) => i === 0 || t - at[i - 1] > 1.5e3 * step) });
    } catch (err) { rendered.errors.push(`annotation ${a.name}: ${err}`); }
  }
  const registry = new FieldConfigOptionsRegistry();
  standardFieldConfigEditorRegistry.list().forEach((o: any) => registry.register(o));
  custom.forEach((c) => registry.register(option(`custom.${c}`, c, true, identityOverrideProcessor) as any));

  const unit = 1440 / 24, rows: React.ReactNode[] = [];
  let bottom = 0;
  for (const p of board.panels.flatMap((p: any) => [p, ...(p.type === 'row' ? p.panels ?? [] : [])])) {
    const g = p.gridPos, box = { position: 'absolute' as const, left: g.x * unit, top: g.y * 36, width: g.w * unit, height: g.h * 36, padding: 4, boxSizing: 'border-box' as const };
    bottom = Math.max(bottom, (g.y + g.h) * 36);
    if (p.type === 'row') { rows.push(<h4 key={`row ${p.title}`} style={{ ...box, margin: 0, color: theme.colors.text.primary }}>{p.title}</h4>); continue; }
    const record: any = { title: p.title, type: p.type, queries: [] };
    rendered.panels.push(record);
    const all: any[] = [];
    for (const t of p.targets ?? []) {
      try { const got = await frames(p, t, vars, s, step); record.queries.push(got.record); all.push(...got.frames); }
      catch (err) { rendered.errors.push(`${p.title}: query ${t.refId}: ${err}: ${t.expr}`); }
    }
    const data = applyFieldOverrides({ data: all, fieldConfig: { defaults: p.fieldConfig?.defaults ?? {}, overrides: p.fieldConfig?.overrides ?? [] }, replaceVariables: replace as any, theme, timeZone: 'utc', fieldConfigRegistry: registry as any });
    data.forEach((f) => f.fields.forEach((field) => { field.display = field.display ?? getDisplayProcessor({ field, theme }); }));
    rows.push(<div key={p.title} style={box}>
      <PanelChrome title={p.title} description={p.description} width={box.width - 8} height={box.height - 8}>
        {(w: number, h: number) => data.length === 0 && p.type !== 'stat' ? <div style={{ textAlign: 'center', paddingTop: h / 3, color: theme.colors.text.secondary }}>{p.fieldConfig.defaults.noValue ?? 'No data'}</div>
          : p.type === 'stat' ? stat(p, data, theme, replace, w, h)
          : p.type === 'bargauge' ? barGauge(p, data, theme, replace, w, h)
          : timeSeries(p, data, s, rendered.annotations, w, h)}
      </PanelChrome></div>);
  }
  createRoot(document.getElementById('root')!).render(<ThemeContext.Provider value={theme}>
    <div style={{ position: 'relative', width: 1440, height: bottom + 8, background: theme.colors.background.canvas, color: theme.colors.text.primary, fontSize: 14 }}>{rows}</div><PortalContainer /></ThemeContext.Provider>);
  setTimeout(() => { rendered.done = true; }, 3000);
}
run().catch((err) => { rendered.errors.push(String(err.stack ?? err)); rendered.done = true; });
