-- What access tokens are held against: how often a user was written, and when last, by this machine's clock.
alter table users add column version integer not null default 0;
alter table users add column changed_at integer not null default 0;
create index users_changed on users (changed_at);
