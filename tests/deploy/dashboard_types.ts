// Checks dashboards against Grafana's own types, panel options included. DASHBOARDS is replaced by their JSON.
import type { AnnotationQuery, Dashboard, DataQuery, Panel, RowPanel } from '@grafana/schema';
import type * as bargauge from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as timeline from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as timeseries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// JSON holds an enum's value, TypeScript wants its name: accept the values.
type Json<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: Json<T[K]> } : T;
type Custom<T> = { defaults: Omit<NonNullable<Panel['fieldConfig']>['defaults'], 'custom'> & { custom?: T } };
// The data source's own query type is not part of the package.
type PrometheusQuery = DataQuery & {
  expr: string;
  legendFormat: string;
  editorMode: 'code';
  instant?: boolean;
  range?: boolean;
  format?: 'table';
};
type Of<Kind extends string, Options, Field> = Omit<Panel, 'options' | 'fieldConfig' | 'type' | 'targets'> & {
  type: Kind;
  options: Partial<Options>; // Grafana fills in what is not given
  fieldConfig: Omit<NonNullable<Panel['fieldConfig']>, 'defaults'> & Custom<Partial<Field>>;
  targets: PrometheusQuery[];
};
type AnyPanel =
  | Of<'stat', stat.Options, never>
  | Of<'bargauge', bargauge.Options, never>
  | Of<'table', table.Options, table.FieldConfig>
  | Of<'timeseries', timeseries.Options, timeseries.FieldConfig>
  | Of<'state-timeline', timeline.Options, timeline.FieldConfig>
  | (Omit<RowPanel, 'panels'> & { panels: [] });
// The Prometheus data source reads these two from an annotation; they are its own.
type Annotation = AnnotationQuery<DataQuery & { expr: string }> & {
  titleFormat?: string;
  textFormat?: string;
};
type OurDashboard = Omit<Dashboard, 'panels' | 'annotations'> & {
  panels: AnyPanel[];
  annotations: { list: Annotation[] };
};

export const dashboards = DASHBOARDS satisfies Json<OurDashboard>[];
