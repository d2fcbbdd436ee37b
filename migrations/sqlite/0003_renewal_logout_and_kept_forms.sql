-- expires_at is when a session ends for good, however often it is renewed; token_expires_at is the newest
-- token's own end.
alter table sessions add column token_expires_at integer not null default 0;
update sessions set token_expires_at = expires_at;
-- Sealed: the newest token, which every node hands out alike, and what renews it.
alter table sessions add column token blob;
alter table sessions add column refresh_token blob;
-- The last request, written in batches; 0 where nobody asks.
alter table sessions add column seen_at integer not null default 0;
-- Who renews it, until when.
alter table sessions add column renewing text;
alter table sessions add column renewing_until integer not null default 0;
-- What a logout of the provider names: `sub` and `sid` of the ID token, and its `iat`.
alter table sessions add column subject text not null default '';
alter table sessions add column provider_sid text;
alter table sessions add column issued_at integer not null default 0;
create index sessions_subject on sessions (provider, subject);
create index sessions_provider_sid on sessions (provider, provider_sid) where provider_sid is not null;

-- Logouts that the provider told, kept for sign-ins that are still on their way, and against replay.
create table provider_logouts (
    provider   text not null,
    jti        text not null,
    sid        text,
    subject    text,
    issued_at  integer not null,
    kept_until integer not null,
    primary key (provider, jti)
) strict;
create index provider_logouts_sid on provider_logouts (provider, sid);
create index provider_logouts_subject on provider_logouts (provider, subject);
create index provider_logouts_end on provider_logouts (kept_until);

-- Forms that met an ended session, sealed, until their person has signed in.
create table kept_forms (
    id         text primary key not null,
    -- Whose session it was: nobody fills the store alone.
    owner      text not null,
    form       blob not null,
    expires_at integer not null
) strict;
create index kept_forms_owner on kept_forms (owner);
create index kept_forms_end on kept_forms (expires_at);
