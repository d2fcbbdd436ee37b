// A SCIM 2.0 receiver made of scimmy and scimmy-routers, users kept in memory. Its filters know upper from lower case, its
// usernames do not; a creation is answered without a Location.
// Usage: scimmy.mjs TOKEN; prints its base URL and answers each line on standard input with all users.
import { createInterface } from 'node:readline';
import { randomUUID } from 'node:crypto';
import express from 'express';
import SCIMMY from 'scimmy';
import Routers from 'scimmy-routers';

const [token] = process.argv.slice(2);
const users = new Map();

function keep(resource, instance) {
  const user = { ...JSON.parse(JSON.stringify(instance)), id: resource.id ?? randomUUID() };
  if (resource.id && !users.has(resource.id)) throw new SCIMMY.Types.Error(404, null, 'no such user');
  const taken = [...users.values()].some(
    (other) => other.id !== user.id && other.userName.toLowerCase() === user.userName.toLowerCase());
  if (taken) throw new SCIMMY.Types.Error(409, 'uniqueness', 'userName is taken');
  users.set(user.id, user);
  return user;
}

function find(resource) {
  if (!resource.id) return resource.filter ? resource.filter.match([...users.values()]) : [...users.values()];
  if (!users.has(resource.id)) throw new SCIMMY.Types.Error(404, null, 'no such user');
  return users.get(resource.id);
}

SCIMMY.Resources.declare(SCIMMY.Resources.User.extend(SCIMMY.Schemas.EnterpriseUser, false), {
  ingress: keep, egress: find, degress: (resource) => users.delete(resource.id),
});
SCIMMY.Config.set({ patch: true, filter: true });

const app = express();
app.use('/scim', new Routers({
  type: 'bearer',
  handler: (request) => {
    if (request.header('authorization') !== `Bearer ${token}`) throw new Error('another token');
    return '';
  },
}));
const server = app.listen(0, '127.0.0.1', () => {
  const base = `http://127.0.0.1:${server.address().port}/scim`;
  process.stdout.write(`${JSON.stringify({ base })}\n`);
});
const lines = createInterface({ input: process.stdin });
lines.on('line', () => process.stdout.write(`${JSON.stringify([...users.values()])}\n`));
lines.on('close', () => process.exit(0));
