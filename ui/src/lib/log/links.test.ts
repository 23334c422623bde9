import { describe, expect, it } from 'vitest';
import { summary } from '../../test/fixtures';
import { findAll, pieces } from './ansi';
import { chosenRows, fileName } from './exporting';
import { findLinks, linksIn } from './links';
import { ROW_END } from './selection.svelte';
import { visibleControls } from './text';

const addresses = (text: string) => findLinks(visibleControls(text)).map((link) => link.address);

describe('web addresses', () => {
  it.each([
    ['Get:1 http://deb.debian.org/debian bookworm', ['http://deb.debian.org/debian']],
    ['see https://example.com/a?b=1&c=2#d.', ['https://example.com/a?b=1&c=2#d']],
    ['(https://en.wikipedia.org/wiki/Disk_(x))', ['https://en.wikipedia.org/wiki/Disk_(x)']],
    ['[https://example.com/x], https://b.example/;', ['https://example.com/x', 'https://b.example/']],
    ['"https://example.com/q"', ['https://example.com/q']],
    ['ftp://example.com javascript://x file:///etc', []],
    ['https:// and http://?', []],
    ['HTTPS://EXAMPLE.COM/Path', ['https://example.com/Path']],
  ])('%s', (text, found) => expect(addresses(text)).toEqual(found));

  it('hide nothing: look-alike letters, names before the host, reversed text', () => {
    // the first letter is Cyrillic
    const [alike] = findLinks('https://\u0430pple.com/login');
    expect(alike).toMatchObject({ host: 'xn--pple-43d.com', address: 'https://xn--pple-43d.com/login' });
    const [named] = findLinks('https://bank.example@evil.example/');
    expect(named).toMatchObject({ host: 'evil.example', address: 'https://bank.example@evil.example/' });
    expect(addresses('https://evil.example/\u202egnp.exe')).toEqual(['https://evil.example/']);
    expect(addresses('https://evil.example/\u0007\u001b]8;;x')).toEqual(['https://evil.example/']);
    expect(addresses('https://example.com/ü')).toEqual(['https://example.com/%C3%BC']);
  });

  it('are bounded in number', () => {
    expect(findLinks('https://a.example/ '.repeat(500))).toHaveLength(40);
  });

  it('are told where a tool made words a link', () => {
    const text = 'see the log at https://a.example/b';
    expect(linksIn(text, [[4, 11, 'https://docs.example/x']])).toEqual([
      { start: 4, end: 11, address: 'https://docs.example/x', host: 'docs.example', disguised: false },
      { start: 15, end: 34, address: 'https://a.example/b', host: 'a.example' },
    ]);
    expect(linksIn(text)).toEqual(findLinks(text));
  });

  it('that words only pretend to are not where they lead', () => {
    const text = 'https://bank.example/login now';
    const [link, ...others] = linksIn(text, [[8, 20, 'https://u@evil.example/']]);
    expect(link).toMatchObject({ host: 'evil.example', address: 'https://u@evil.example/', disguised: true });
    expect(others).toEqual([]);
    expect(linksIn(text, [[0, 26, 'https://bank.example/other']])[0]).toMatchObject({ disguised: false });
  });

  it('are of the web, whatever a collector says', () => {
    for (const address of [
      'javascript:alert(1)',
      'file:///etc/passwd',
      'data:text/html,x',
      'https://',
      'x',
    ]) {
      expect(linksIn('words', [[0, 5, address]])).toEqual([]);
    }
  });

  it('are pieces of their own, whatever else is marked there', () => {
    const text = 'at https://a.example/b now';
    const links = findLinks(text);
    const parts = pieces(text, [[0, 12, 'fg2']], [{ start: 11, end: 20 }], null, links);
    expect(parts.map((part) => part.text).join('')).toBe(text);
    const linked = parts.filter((part) => part.link === 0).map((part) => part.text);
    expect(linked.join('')).toBe('https://a.example/b');
    expect(parts[0]).toMatchObject({ text: 'at ', classes: 'a-fg2' });
    expect(parts[0]!.link).toBeUndefined();
  });
});

it('joins what several words find', () => {
  expect(findAll('abcabc', [/abc/g, /bca/g])).toEqual([{ start: 0, end: 6 }]);
  expect(findAll('a b a', [/b/g, /a/g])).toEqual([
    { start: 0, end: 1 },
    { start: 2, end: 3 },
    { start: 4, end: 5 },
  ]);
});

describe('what is exported', () => {
  it('is the selected rows, whole, or the current line', () => {
    const at = (row: number, offset: number) => ({ row, offset });
    expect(chosenRows({ start: at(3, 4), end: at(5, 1) }, null)).toEqual({ from: 3, to: 6 });
    expect(chosenRows({ start: at(3, 4), end: at(5, 0) }, null)).toEqual({ from: 3, to: 5 });
    expect(chosenRows({ start: at(3, 0), end: at(3, ROW_END) }, 9)).toEqual({ from: 3, to: 4 });
    expect(chosenRows(null, 9)).toEqual({ from: 9, to: 10 });
    expect(chosenRows(null, null)).toBeNull();
  });

  it('has a name that any system takes', () => {
    const run = summary({ name: '../Bay 12: "left"', id: '0193bbbb-0000' });
    expect(fileName(run, { from: 11, to: 40 }, 'jsonl')).toBe('Bay-12-left-0193bbbb-lines-12-40.jsonl');
    expect(fileName(summary({ name: '..', id: '0193bbbb-0000' }), null, 'log')).toBe('log-0193bbbb.log');
  });
});
