import '@fontsource-variable/inter/index.css';
import '@fontsource-variable/jetbrains-mono/index.css';
import './lib/shared/tokens.css';
import './lib/shared/base.css';
import { mount } from 'svelte';
import Root from './Root.svelte';
import { openHost } from './lib/host';

const target = document.getElementById('app');
if (!target) throw new Error('index.html has no #app');

const host = await openHost();
const connections = await host.connections();
mount(Root, { target, props: { host, connections } });
