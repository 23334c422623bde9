/** Where the letter after g goes. */
export const afterG: Record<string, string> = {
  l: '/live',
  c: '/fleet',
  h: '/history',
  b: '/together',
  f: '/signatures',
  o: '/operators',
  v: '/venues',
  s: '/settings',
};

/** The keyboard, as the sheet shows it. The handlers stand with what they act on. */
export interface Keys {
  title: string;
  keys: [string, string][];
}

/** Where there are several venues. */
export const venueKeys: [string, string][] = [
  ['v', 'Choose a venue'],
  ['g+v', 'Venues'],
];

export const sheet: Keys[] = [
  {
    title: 'Everywhere',
    keys: [
      ['Ctrl+K', 'Go anywhere'],
      ['Ctrl+1 Ctrl+9', 'First to ninth collector (in the app)'],
      ['?', 'This sheet'],
      ['a', 'Add consoles'],
      ['g+l', 'Live'],
      ['g+c', 'Fleet'],
      ['g+h', 'History'],
      ['g+f', 'Failures'],
      ['g+b', 'Side by side'],
      ['g+o', 'Operators'],
      ['g+s', 'Settings'],
    ],
  },
  {
    title: 'Live',
    keys: [
      ['↑ ↓', 'Previous, next deployment'],
      ['Enter', 'Open it'],
    ],
  },
  {
    title: 'Fleet',
    keys: [
      ['j k ↑ ↓', 'Next, previous console'],
      ['/', 'Filter'],
      ['Space x', 'Select, or not'],
      ['d', 'Deploy now'],
      ['r', 'Renew certificate'],
      ['Del', 'Remove…'],
      ['Enter', 'Open its latest deployment'],
      ['Esc', 'Drop the selection'],
    ],
  },
  {
    title: 'History',
    keys: [
      ['/', 'Go to the search field'],
      ['j k ↑ ↓', 'Next, previous match'],
      ['Enter', 'Open the log there'],
      ['Space', 'Show or hide the lines around it'],
      ['o', 'Fold or unfold the run'],
      ['y', 'Copy link to the line'],
      ['Ctrl+C', 'Copy the line'],
      ['Esc', 'Stop searching, leave the field'],
    ],
  },
  {
    title: 'Log: move',
    keys: [
      ['j k ↑ ↓', 'Line by line'],
      ['PgUp PgDn', 'Page by page'],
      ['Home End', 'First line, end'],
      ['Shift+G', 'End'],
      ['Ctrl+G', 'Go to line'],
      ['f', 'Follow the end'],
      ['e E', 'Next, previous error'],
      ['o', 'Fold or unfold the phase'],
      ['Enter', 'Show hidden lines next to this one'],
    ],
  },
  {
    title: 'Log: find and take',
    keys: [
      ['/', 'Find in the whole log'],
      ['n N', 'Next, previous match'],
      ['y', 'Copy link to the line'],
      ['u', 'Web addresses in the line'],
      ['Shift+↑ Shift+↓', 'Select line by line'],
      ['Ctrl+C', 'Copy the selection'],
      ['Esc', 'Leave find, drop the selection'],
    ],
  },
];

/** True when a key press belongs to a field, a menu or a dialog rather than to the screen. */
export function inField(event: KeyboardEvent): boolean {
  const target = event.target;
  return (
    target instanceof HTMLElement &&
    target.closest(
      'input, textarea, select, [contenteditable], [role="menu"], [role="dialog"], [role="alertdialog"], [role="listbox"]',
    ) !== null
  );
}
