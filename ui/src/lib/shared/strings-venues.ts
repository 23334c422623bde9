/** What is said of venues and organisations: a part of the one catalogue (`strings.ts`). Only who has several is told of them. */
import { count, plural } from './format';

const consolesOf = (n: number) => plural(n, 'console', 'consoles');

export const venues = {
  title: 'Venues',
  subtitle: (n: number) => plural(n, 'venue', 'venues'),
  all: 'All venues',
  switcher: 'Choose a venue',
  heading: 'Venues',
  manage: 'Venues…',
  switchTo: (name: string) => `Switch to ${name}`,
  needs: (n: number) => `${count(n)} ${n === 1 ? 'needs' : 'need'} you`,
  elsewhere: (n: number) => `${count(n)} ${n === 1 ? 'needs' : 'need'} you in other venues`,
  left: (name: string) =>
    name === ''
      ? 'The venue that you looked at last is not there for you any more'
      : `You have no role in ${name} any more`,

  view: 'Show',
  mixed: 'All venues',
  grouped: 'Grouped by venue',
  only: 'Only',
  actHere: (names: string) => `There is more that you may do in ${names}: switch there.`,

  elsewhereTitle: (name: string) => `This deployment is in ${name}`,
  elsewhereNote: (chosen: string) => `You are looking at ${chosen}.`,

  makeFor: 'Make a code for',
  comesInto: (name: string) => `for ${name}`,

  lead: 'A venue is a place with consoles. Operators may have a role in all of them or in single ones, and see nothing of the others.',
  soleLead: 'There is one. Add another, and everybody who has a role in all venues can choose between them.',
  columns: { name: 'Venue', consoles: 'Consoles', actions: 'Actions' },
  consoles: (here: number, linked: number) =>
    here === 0 ? 'none yet' : `${consolesOf(here)}, ${count(linked)} linked`,
  consolesUnknown: 'not known',
  shown: 'on the screen',
  show: 'Show',
  showOf: (name: string) => `Show ${name}`,
  rename: 'Rename',
  renameOf: (name: string) => `Rename ${name}`,
  renamed: (name: string) => `It is called ${name} now`,
  undo: 'Undo',
  add: 'Add a venue',
  addNote: 'It can be renamed at any time, but not removed: what happened there stays.',
  added: (name: string) => `${name} was added`,
  name: 'Name',
  nameHint: 'Hall B',
  renameNote: 'Everybody sees the new name at once; searches with the old one find nothing any more.',
  taken: 'There is a venue of that name already.',
  save: 'Save',
  saving: 'Saving…',
  saveFailed: 'It could not be saved',
  loading: 'Asking the collector for its venues…',
  notYours: 'Adding and renaming venues is for admins of all venues.',

  organisations: 'Organisations',
  organisationsLead:
    'Whoever runs this collector can keep several organisations on it. Each has venues, operators and logs of its own; nobody in one sees anything of another.',
  organisationsFailed: 'The organisations could not be asked for',
  retry: 'Try again',
  addOrganisation: 'Add an organisation',
  addOrganisationNote:
    'It begins with a venue of the same name and without operators. It cannot be removed or renamed.',
  organisationTaken: 'There is an organisation of that name already.',
  enter: 'Switch into it',
  entered: 'You are in it',

  settings: 'Venues',
  settingsNote: 'Consoles in more than one place, with operators of their own.',
  settingsOpen: 'Venues…',

  roleAll: 'In all venues',
  roleNone: 'No role in all venues',
  roleNoneWhat: 'Only in the venues below, and nothing of the others is seen.',
  roleSingle: 'In single venues',
  roleSingleNote: 'More than in all venues, where it is needed.',
  roleAs: (role: string) => `as in all: ${role}`,
  roleNo: 'none',
  roleNeeded: 'Choose a role: in all venues, or in one of them.',
  reachAll: (role: string) => `${role} in all venues`,
  reach: (role: string, venue: string) => `${role} in ${venue}`,
  unknownVenue: 'a venue that is not known here',
  adminHere: (venue: string) =>
    `You are admin in ${venue}. Who may log in, and where, is decided by admins of all venues.`,
};
