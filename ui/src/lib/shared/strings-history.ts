/** What History and the search language say: a part of the one catalogue (`strings.ts`). */
import { count, plural, roughly } from './format';

export const query = {
  help: 'How to search',
  helpLead: 'Words that stand side by side must all be in the line. Click an example to try it.',
  helpMore: 'Terms can be joined with and, or, not and brackets; a minus in front denies a term.',
  /** [what is typed, what it finds] */
  examples: [
    ['disk full', 'lines with both words, capitals ignored'],
    ['"install failed"', 'exactly this phrase'],
    ['level:error since:24h', 'errors of the last 24 hours'],
    ['console:="Bay 12" level:warning', 'warnings and errors of one console'],
    ['/timed? ?out/i', 'a regular expression; i ignores capitals'],
    ['word:disk -word:cache', 'the word disk, in lines without the word cache'],
    ['phase:drivers outcome:failed', 'the drivers phase of runs that failed'],
    ['(nvidia or amdgpu) level:error', 'one or the other'],
    ['after:2026-11-01 before:"2026-11-01 14:30"', 'a stretch of time'],
    ['kind:gap', 'where lines are missing'],
  ] as readonly (readonly [string, string])[],
  fields:
    'Fields: level, phase, step, console, template, venue, release, outcome, deployment, kind, after, before, since, word.',
};

export const history = {
  title: 'History',
  tabs: { search: 'Search', signatures: 'Failures', together: 'Side by side' },
  tabsLabel: 'Parts of History',
  field: 'Search all logs',
  placeholder: 'Search every line ever stored',
  clear: 'Clear',
  submit: 'Search',
  chips: 'Narrow the search',
  any: {
    time: 'All time',
    level: 'Any level',
    outcome: 'Any outcome',
    console: 'Any console',
    template: 'Any template',
    venue: 'Any venue',
  },
  chip: {
    time: 'Time',
    level: 'Level',
    outcome: 'Outcome',
    console: 'Console',
    template: 'Template',
    venue: 'Venue',
  },
  times: {
    hour: 'Last hour',
    today: 'Today',
    week: 'Last 7 days',
    month: 'Last 30 days',
  },
  range: (after: string | null, before: string | null) => {
    if (after === null) return `until ${before}`;
    if (before === null) return `from ${after}`;
    const day = after.slice(0, 11);
    return `${after} – ${day.length === 11 && before.startsWith(day) ? before.slice(11) : before}`;
  },
  since: (span: string) => `Last ${span}`,
  levels: { warning: 'Warnings and errors', error: 'Errors' } as Record<string, string>,
  outcomes: {
    succeeded: 'Succeeded',
    failed: 'Failed',
    cancelled: 'Cancelled',
    interrupted: 'Interrupted',
    running: 'Running',
  } as Record<string, string>,
  noneKnown: 'None known yet',
  histogram: 'Matches over time',
  histogramHelp: 'Arrow keys move, Shift and arrow keys choose a range, Enter searches in it.',
  bucket: (time: string, matched: number, errors: number) =>
    `${time}: ${plural(matched, 'match', 'matches')}${errors === 0 ? '' : `, ${plural(errors, 'error', 'errors')}`}`,
  zoom: 'Search in this range',
  results: 'Results',
  matches: (n: number) => plural(n, 'match', 'matches'),
  inRuns: (matches: number, runs: number) =>
    `${plural(matches, 'match', 'matches')} in ${plural(runs, 'run', 'runs')}`,
  listedOf: (listed: number, matched: number) =>
    listed >= matched
      ? plural(matched, 'match', 'matches')
      : `${count(listed)} of ${plural(matched, 'match', 'matches')}`,
  searched: (blocks: number, of: number, rows: number, seconds: string) =>
    `searched ${count(blocks)} of ${plural(of, 'block', 'blocks')} · ${roughly(rows)} lines · ${seconds} s`,
  searchedAll: (blocks: number, rows: number, seconds: string) =>
    `searched ${plural(blocks, 'block', 'blocks')} · ${roughly(rows)} lines · ${seconds} s`,
  unreadable: (blocks: number) => `${plural(blocks, 'block', 'blocks')} cannot be read`,
  asking: 'Asking the collector…',
  waiting: 'The search begins when the connection is back.',
  waitingAgain: 'What was found so far. The search starts again when the connection is back.',
  cancel: 'Cancel',
  cancelled: 'stopped',
  again: 'Search again',
  failed: 'The search could not be run',
  nothing: 'Nothing found',
  nothingSearched: (blocks: number, rows: number) =>
    blocks === 0
      ? 'There is no stored log to search yet, or none in this stretch of time.'
      : `All ${roughly(rows)} lines in ${plural(blocks, 'block', 'blocks')} that this search covers were searched.`,
  stoppedEmpty: 'Stopped before anything was found',
  stoppedNote: 'What has been searched so far holds no match.',
  loosen: 'Try with less:',
  without: (term: string) => `Without ${term}`,
  older: 'Older results',
  olderLoading: 'Loading older results…',
  olderFailed: 'Older results could not be loaded.',
  retry: 'Try again',
  noMore: 'That is all.',
  full: (n: number) => `The newest ${count(n)} matches are listed. Narrow the search to see others.`,
  openLog: 'Open the log',
  fold: (name: string) => `Fold ${name}`,
  unfold: (name: string) => `Unfold ${name}`,
  peekFailed: 'The lines around it could not be loaded.',
  copiedLine: 'Line copied',
  keys: { move: 'move', open: 'open', peek: 'lines around', link: 'copy link' },
  teachTitle: 'Every line of every run, searched in a moment',
  teachLead: 'Type what you remember of it: a word of the message, a package, an error code.',
  recent: 'Recent searches',
  forgetRecent: 'Forget these',
  tryThese: 'Try',
  copyLink: 'Copy link to this search',
  menu: 'More',
  importRun: 'Import a run…',
  importFile: 'File of a run',
  importing: (name: string) => `Taking in ${name}…`,
  imported: 'The run was taken in',
  importedBefore: 'This run was here already',
  importFailed: 'The run could not be taken in',
  saved: {
    title: 'Saved searches',
    menu: 'Saved',
    save: 'Save…',
    saveTitle: 'Save this search',
    editTitle: 'Change this search',
    name: 'Name',
    query: 'Search',
    alert: 'New matches are worth an alert',
    alertNote: 'Kept with the search, for the alert rules of a later version. Nothing is sent yet.',
    alertOn: 'worth an alert',
    submit: 'Save',
    saved: (name: string) => `${name} saved`,
    edit: (name: string) => `Change ${name}`,
    delete: (name: string) => `Delete ${name}`,
    deleted: (name: string) => `${name} deleted`,
    none: 'Saved searches appear here. Save one with the bookmark beside the search field.',
    today: (n: number) => (n === 0 ? 'none today' : `${count(n)} today`),
    last: (when: string) => `last ${when}`,
    failed: 'Saved searches could not be loaded',
    failedSave: 'The search could not be saved',
    failedDelete: 'The search could not be deleted',
  },
};
