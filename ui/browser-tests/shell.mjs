// Stands in for the installed app's shell, so that its screens run in a browser: every connection leads to the one real collector
// that serves the page. What a shell finds out about keys and sessions is said by the test.

/** Runs in the page, before it. `shell`: { token, connections, looked }. */
function install(shell) {
  const callbacks = new Map();
  const events = new Map();
  const lives = new Map();
  let next = 1;
  const refused = (code, message) => ({ code, message, retryable: false });
  /** By connection: what dialling it is refused with. */
  const refusals = new Map(shell.refusals ?? []);
  const tell = () => events.get('connections')?.forEach((call) => call(shell.connections));
  const change = (id, fields) => {
    shell.connections = shell.connections.map((one) => (one.id === id ? { ...one, ...fields } : one));
    tell();
  };

  async function ask({ connection, method, path, headers, body }) {
    const refusal = refusals.get(connection);
    if (refusal) throw refusal;
    const answer = await fetch(path, {
      method,
      headers: { ...headers, authorization: `Bearer ${shell.token}` },
      body: body ?? undefined,
    });
    return {
      status: answer.status,
      headers: Object.fromEntries(answer.headers),
      body: await answer.text(),
      base64: false,
    };
  }

  async function open({ connection, place }) {
    const path = place === '' ? '/api/v1/tickets' : `/api/v1/tickets?${place}`;
    const { body } = await ask({ connection, method: 'POST', path });
    const url = new URL('/ws/live', location.href);
    url.protocol = 'ws:';
    url.searchParams.set('ticket', JSON.parse(body).ticket);
    const socket = new WebSocket(url);
    const live = { connection, socket, waiting: [], wake: () => undefined, gone: false };
    socket.onmessage = ({ data }) => {
      live.waiting.push(data);
      live.wake();
    };
    socket.onclose = () => {
      live.gone = true;
      live.wake();
    };
    await new Promise((done) => (socket.onopen = done));
    lives.set(next, live);
    return next++;
  }

  async function receive({ live }) {
    const one = lives.get(live);
    while (one.waiting.length === 0 && !one.gone) await new Promise((done) => (one.wake = done));
    if (one.waiting.length === 0) throw refused('broken', 'the socket has ended');
    return new TextEncoder().encode(
      one.waiting
        .splice(0)
        .map((text) => `\x1e${text}`)
        .join(''),
    ).buffer;
  }

  async function logIn(login) {
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch('/api/v1/login', { method: 'POST', headers, body: JSON.stringify(login) });
    if (!answer.ok) throw (await answer.json()).error;
  }

  const commands = {
    connections: async () => shell.connections,
    ready: async () => null,
    request: ask,
    request_give_up: async () => null,
    live_open: open,
    live_next: receive,
    live_send: async ({ live, text }) => lives.get(live).socket.send(text),
    live_close: async ({ live }) => lives.get(live).socket.close(),
    remote_look: async () => shell.looked,
    remote_discover: async () => [],
    remote_add: async ({ address, name, login }) => {
      await logIn(login);
      const id = `r${shell.connections.length}`;
      const added = { id, name: name || 'Headquarters', kind: 'remote', state: 'ready', sentence: null };
      shell.connections = [...shell.connections, { ...added, listen: address, login: login.login }];
      tell();
      return id;
    },
    remote_enter: async ({ connection, login }) => {
      await logIn(login);
      refusals.delete(connection);
      change(connection, { login: login.login });
    },
    remote_remove: async ({ connection }) => {
      shell.connections = shell.connections.filter((one) => one.id !== connection);
      refusals.delete(connection);
      tell();
    },
    about: async () => ({
      version: '0.1.0',
      data_dir: '/data',
      log_dir: '/logs',
      autostart_available: false,
      told_to_listen: null,
      logins: { kind: 'keyring', sentence: 'Logins at other collectors are kept in the desktop’s keyring.' },
    }),
    preferences_get: async () => ({
      notify_failure: true,
      notify_silence: true,
      notify_finish: false,
      paused_until_at: null,
      autostart: false,
      listen_on_network: false,
      listen_address: '0.0.0.0',
      listen_port: 7443,
    }),
    'plugin:event|listen': async ({ event, handler }) => {
      const call = (payload) => callbacks.get(handler)?.({ event, id: handler, payload });
      events.set(event, [...(events.get(event) ?? []), call]);
      return handler;
    },
    'plugin:event|unlisten': async () => undefined,
  };

  window.__TAURI_INTERNALS__ = {
    transformCallback(call) {
      callbacks.set(next, call);
      return next++;
    },
    invoke: (command, args) => commands[command](args ?? {}),
  };
  window.__TAURI_EVENT_PLUGIN_INTERNALS__ = { unregisterListener: () => undefined };
  /** What the test says through the shell. */
  window.shell = {
    refuse(connection, code, message) {
      refusals.set(connection, refused(code, message));
      for (const live of lives.values()) if (live.connection === connection) live.socket.close();
    },
    navigate: (path) => events.get('navigate')?.forEach((call) => call(path)),
    looks: (looked) => (shell.looked = looked),
  };
}

/** For `open`'s `prepare`. */
export function standIn(shell) {
  return (page) => page.addInitScript(install, shell);
}
