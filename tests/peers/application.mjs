// One of several servers of an application: answers every request with its name and the method.
// SIGTERM ends it as a deployment would: no new connections, what is in flight is answered.
// Usage: application.mjs NAME PORT
import { createServer } from 'node:http';

const [name, port] = process.argv.slice(2);

const server = createServer((request, response) => {
  request.resume();
  request.on('end', () => {
    const body = JSON.stringify({ server: name, method: request.method });
    setTimeout(() => {
      response.setHeader('content-type', 'application/json');
      response.setHeader('content-length', Buffer.byteLength(body));
      response.end(request.method === 'HEAD' ? '' : body);
    }, 1);
  });
});

process.on('SIGTERM', () => server.close(() => process.exit(0)));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
server.listen(Number(port), '127.0.0.1', () => {
  process.stdout.write(`${JSON.stringify({ pid: process.pid })}\n`);
});
