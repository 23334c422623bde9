/** Leaving a collector in a browser: the session is ended there, and forgotten here whatever it says. */
import { messageOf } from '../api/message';
import { t } from '../shared/strings';
import type { App } from '../shell/app';

export async function logOut(app: App): Promise<void> {
  try {
    await app.api.logOut();
  } catch (cause) {
    app.toasts.show(`${t.login.outFailed}: ${messageOf(cause)}`, { tone: 'failed' });
  }
  app.host.credentials?.forget();
  // nothing of what was seen stays behind
  location.reload();
}
