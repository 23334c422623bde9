/** Where the collector inside the app listens. */
export const listening = {
  title: 'Consoles on the network',
  let: 'Let consoles elsewhere reach this app’s collector',
  off: 'Off: only this computer reaches it.',
  on: 'On: everybody on its networks can reach the port. They get in only with a code, a certificate or a login, and everything travels by TLS. The collector makes itself known there, so that other Deckport apps find it.',
  address: 'Address',
  addressNote: '0.0.0.0 is every network of this computer.',
  port: 'Port',
  portWrong: 'A port is a number from 1 to 65535.',
  portNote: 'Consoles that were added keep the address that they were added with.',
  apply: 'Apply',
  applying: 'The collector starts again there…',
  restarts: 'A change starts the collector again. Deployments go on; their lines arrive a moment later.',
  told: (address: string) =>
    `The app was started with --listen ${address}. That counts; start it without to choose here.`,
  failed: 'Nothing was changed',
};

/** Collectors that make themselves known on the network. */
export const discovered = {
  title: 'On this network',
  looking: 'Listening for collectors…',
  none: 'No collector makes itself known here. One does when it listens beyond its own machine.',
  failed: 'The network could not be asked',
  note: 'What they say of themselves is only their word. The code is compared next.',
  unnamed: 'A collector',
  known: 'connected already',
};
