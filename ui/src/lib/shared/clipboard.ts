/**
 * Writing text to the clipboard, also where the page is not a secure context (a collector on plain
 * HTTP in the LAN) and also when the text takes a moment to fetch.
 */
export async function copyText(text: string | Promise<string>): Promise<boolean> {
  const clipboard = navigator.clipboard as Clipboard | undefined;
  if (clipboard && typeof ClipboardItem !== 'undefined' && typeof text !== 'string') {
    try {
      // handing over a promise keeps the click's permission while the text is fetched
      const blob = text.then((ready) => new Blob([ready], { type: 'text/plain' }));
      await clipboard.write([new ClipboardItem({ 'text/plain': blob })]);
      return true;
    } catch {
      // fall through to the older ways
    }
  }
  const ready = await text;
  if (clipboard) {
    try {
      await clipboard.writeText(ready);
      return true;
    } catch {
      // fall through
    }
  }
  const area = document.createElement('textarea');
  area.value = ready;
  area.setAttribute('readonly', '');
  area.className = 'visually-hidden';
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  let copied = false;
  try {
    copied = document.execCommand('copy');
  } catch {
    copied = false;
  }
  area.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return copied;
}
