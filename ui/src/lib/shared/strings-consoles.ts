/** What is said of consoles and of adding them: a part of the one catalogue (`strings.ts`). */
import { bytes, count, plural } from './format';

const consolesOf = (n: number) => plural(n, 'console', 'consoles');

export const consoles = {
  title: 'Fleet',
  subtitle: (here: number, linked: number) => `${consolesOf(here)}, ${count(linked)} linked`,
  subtitleLocked: (n: number) => `${count(n)} locked out`,
  loading: 'Asking the collector for its consoles…',
  failed: 'The consoles could not be asked for',
  stale: 'What you see is from before.',
  retry: 'Try again',
  empty: 'No consoles yet',
  emptyNote:
    'A console is a Linux machine that is added once, with a line to paste and a code to type. From then on it shows here: whether it is there, how it does, and what it is deployed with.',
  filter: 'Filter consoles',
  filterHint: 'Name, template, standing',
  noMatch: 'No console matches.',
  clearFilter: 'Show all',
  table: 'Consoles',
  columns: {
    select: 'Select',
    name: 'Console',
    standing: 'Standing',
    template: 'Template',
    venue: 'Venue',
    link: 'Link',
    version: 'Agent',
    load: 'Load',
    memory: 'Memory',
    disk: 'Disk',
    certificate: 'Certificate',
    actions: 'Actions',
  },
  groups: { locked: 'Locked out', here: 'Consoles', removed: 'Removed' },
  showRemoved: (n: number) => `Show ${count(n)} removed`,
  hideRemoved: 'Hide removed',
  standing: {
    enrolled: 'added',
    locked: 'locked out',
    revoked: 'removed',
    unenrolled: 'not added',
  } as Record<string, string>,
  unenrolledNote:
    'Its runs came with the collector’s own token. Add it to have it in touch and to give it orders.',
  lockedWhy:
    'A key of this console was used in two places, so somebody has a copy of it. Neither gets in any more. Find out where the copy came from, then add the console again: it gets a new key, and the copy stays out.',
  linked: 'linked',
  away: 'away',
  linkedFor: (span: string) => `linked ${span}`,
  linkedSince: (when: string) => `Linked since ${when}`,
  lastSeen: (span: string) => `seen ${span} ago`,
  lastSeenAt: (when: string) => `Last seen ${when}`,
  clockAhead: (s: string) => `clock ${s} s ahead`,
  clockBehind: (s: string) => `clock ${s} s behind`,
  load: 'Processes that ran or waited to, on average over a minute',
  used: (share: string, used: number, whole: number) => `${share}, ${bytes(used)} of ${bytes(whole)}`,
  certificateIn: (span: string) => `in ${span}`,
  certificateEnded: (span: string) => `ended ${span} ago`,
  certificateEnds: (when: string) => `Good until ${when}; the agent renews it by itself`,
  certificateEndedNote: 'The agent renews it as soon as it reaches the collector',
  nothing: '–',

  select: (name: string) => `Select ${name}`,
  selectAll: 'Select all that are shown',
  selected: (n: number) => `${consolesOf(n)} selected`,
  clearSelection: 'Clear',
  menu: (name: string) => `Actions for ${name}`,
  deploy: 'Deploy now',
  deployOne: (name: string) => `Deploy now: ${name}`,
  renew: 'Renew certificate',
  renewMany: 'Renew certificates',
  remove: 'Remove…',
  addAgain: 'Add it again…',
  addThis: 'Add it…',
  latest: 'Open its latest deployment',
  logs: 'Search its logs',
  notLinked: 'not linked',

  deployTitle: (n: number, name: string) => (n === 1 ? `Deploy on ${name}` : `Deploy on ${consolesOf(n)}`),
  deployWhat: (n: number) =>
    n === 1
      ? 'It runs the deployment of its template now, as it did when it was added.'
      : 'Each runs the deployment of its template now, as it did when it was added.',
  deployBusy: (n: number, names: string) =>
    n === 1
      ? `${names} is in a deployment already; a second one would run beside it.`
      : `${names} are in a deployment already; a second one would run beside it.`,
  deployAway: (n: number, names: string) =>
    n === 1 ? `${names} is not linked and is left out.` : `${names} are not linked and are left out.`,
  deployYes: 'Deploy now',
  deployed: (name: string) => `${name}: the deployment was started`,
  deployedMany: (n: number) => `The deployment was started on ${consolesOf(n)}`,
  watch: 'Watch',
  renewed: (name: string) => `${name} has a new certificate`,
  renewedMany: (n: number) => `${consolesOf(n)} have new certificates`,
  refused: (name: string, why: string) => `${name}: ${why}`,
  refusedMany: (n: number, name: string, why: string) => `${consolesOf(n)} did not do it. ${name}: ${why}`,
  noneLinked: 'None of them is linked',
  working: 'Asking…',
  more: (n: number) => `and ${count(n)} more`,

  removeTitle: (n: number, name: string) => (n === 1 ? `Remove ${name}` : `Remove ${consolesOf(n)}`),
  removeShut: (n: number) =>
    n === 1
      ? 'It is shut out at once: its certificate counts no more, and what it has open is closed.'
      : 'They are shut out at once: their certificates count no more, and what they have open is closed.',
  removeRunning: (n: number, names: string) =>
    n === 1
      ? `${names} is in a deployment. It goes on there, but nothing of it arrives here any more.`
      : `${names} are in a deployment. It goes on there, but nothing of it arrives here any more.`,
  removeKept: 'All that was received stays here and in History.',
  removeAgent: 'The agent stays on the machine. To take it off, run there:',
  removeNoUndo: (n: number) =>
    n === 1
      ? 'There is no undo. To let it in again, add it again with a new code.'
      : 'There is no undo. To let one in again, add it again with a new code.',
  removeYes: (n: number) => (n === 1 ? 'Remove it' : `Remove ${consolesOf(n)}`),
  removeNo: (n: number) => (n === 1 ? 'Keep it' : 'Keep them'),
  removing: 'Removing…',
  removed: (name: string) => `${name} is removed and shut out`,
  removedMany: (n: number) => `${consolesOf(n)} are removed and shut out`,
  removeFailed: 'It could not be removed',

  codes: {
    title: 'Codes given out',
    note: 'The codes themselves are not kept: each is shown once, when it is made.',
    none: 'None is open.',
    state: 'State',
    lets: 'Let in',
    made: 'Made',
    ends: 'Good until',
    states: { open: 'open', used: 'used up', expired: 'expired', revoked: 'taken back' } as Record<
      string,
      string
    >,
    usesOf: (uses: number, most: number) => `${count(uses)} of ${count(most)}`,
    left: (d: string) => `${d} left`,
    takeBack: 'Take back',
    takeBackThis: (template: string, when: string) => `Take back the code for ${template}, made ${when}`,
    tookBack: 'The code lets nobody in any more',
    takeBackFailed: 'The code could not be taken back and still lets consoles in',
    showOlder: (n: number) => `Show ${count(n)} older`,
    hideOlder: 'Hide older',
  },
};

export const adding = {
  title: 'Add consoles',
  lead: 'You get a line to paste at each console and a code to type there. The console adds itself and runs its first deployment, which you see on Live.',
  template: 'Template',
  templatesLoading: 'Asking for the templates…',
  templatesFailed: 'The templates could not be asked for',
  venue: 'Venue',
  uses: 'Consoles',
  usesNote: 'How many this code lets in',
  usesWrong: (most: number) => `1 to ${count(most)}`,
  ttl: 'Good for',
  ttls: { 900: '15 minutes', 3600: '1 hour', 28_800: '8 hours', 86_400: '1 day' } as Record<number, string>,
  plain: 'installs nothing: the console shows what it is and that it can be reached.',
  ownTemplates: (folder: string) => `For your own, put a script NAME.sh into ${folder}`,
  make: 'Make a code',
  making: 'Making a code…',
  failed: 'No code could be made',
  back: 'Back to the code',
  other: 'Change…',

  onlyHere: 'Only this machine can reach the collector',
  onlyHereNote:
    'It listens on loopback, so consoles elsewhere cannot come in. To let them, stop it and start it with:',
  onlyHereDesktop: 'It listens on loopback, so consoles elsewhere cannot come in until you say so.',
  onlyHereSwitch: 'Let them in…',
  notListening: 'The collector does not listen for consoles',
  notListeningNote: 'No console can come in. The app’s first lines, or Settings, say why.',

  paste: 'Paste this at the console',
  line: 'Line to paste',
  address: 'Reached at',
  addressOf: (n: number) => `${count(n)} addresses`,
  nameNote: 'For another name than its host name, end the line with',
  type: 'Type this code when it asks',
  code: 'Code',
  copyCode: 'Copy the code',
  codeCopied: 'Code copied',
  lets: (n: number) => `lets in ${consolesOf(n)}`,
  letsMore: (left: number, most: number) => `lets in ${count(left)} more of ${count(most)}`,
  left: (d: string) => `${d} left`,
  leftLabel: 'Time left',
  another: 'Make another',
  takeBack: 'Take back',
  state: {
    used: 'This code is used up.',
    expired: 'This code has expired.',
    revoked: 'This code was taken back.',
  } as Record<string, string>,
  stateNote: {
    used: 'Make another for further consoles.',
    expired: 'No console can come in with it any more.',
    revoked: 'It lets nobody in any more.',
  } as Record<string, string>,
  key: 'The collector’s key, shortened',
  keyNote: 'to compare when the line reached the console by some other way',
  careful: 'Look before you run it',
  carefulNote:
    'The same in three steps: download, read, run. Nothing is sent before the collector’s key was checked.',
  qr: 'The line as a QR code',
  qrNote: 'Scan to get the line',

  waiting: 'Waiting for a console…',
  waitingNote: 'It appears here when it comes in.',
  joinedTitle: 'Came in',
  joined: (name: string) => `${name} was added.`,
  firstDeployment: 'First deployment',
  noDeployment: 'no deployment yet',
  openFleet: 'Open Fleet',
  done: 'Done',
  pollFailed: 'The collector does not answer; whether consoles came in is not known.',
};
