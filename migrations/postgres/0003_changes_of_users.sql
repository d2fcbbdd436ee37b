-- What access tokens are held against: how often a user was written, and when last, by this server's clock.
alter table users add column version bigint not null default 0;
alter table users add column changed_at bigint not null default 0;
create index users_changed on users (changed_at);
