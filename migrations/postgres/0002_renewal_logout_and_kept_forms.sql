-- expires_at is when a session ends for good, however often it is renewed; token_expires_at is the newest
-- token's own end.
alter table sessions add column token_expires_at bigint not null default 0;
update sessions set token_expires_at = expires_at;
-- Sealed: the newest token, which every node hands out alike, and what renews it.
alter table sessions add column token bytea;
alter table sessions add column refresh_token bytea;
-- The last request, written in batches; 0 where nobody asks.
alter table sessions add column seen_at bigint not null default 0;
-- Who renews it, until when.
alter table sessions add column renewing text;
alter table sessions add column renewing_until bigint not null default 0;
-- What a logout of the provider names: `sub` and `sid` of the ID token, and its `iat`.
alter table sessions add column subject text not null default '';
alter table sessions add column provider_sid text;
alter table sessions add column issued_at bigint not null default 0;
create index sessions_subject on sessions (provider, subject);
create index sessions_provider_sid on sessions (provider, provider_sid) where provider_sid is not null;

-- Logouts that the provider told, kept for sign-ins that are still on their way, and against replay.
create table provider_logouts (
    provider   text not null,
    jti        text not null,
    sid        text,
    subject    text,
    issued_at  bigint not null,
    kept_until bigint not null,
    primary key (provider, jti)
);
create index provider_logouts_sid on provider_logouts (provider, sid);
create index provider_logouts_subject on provider_logouts (provider, subject);
create index provider_logouts_end on provider_logouts (kept_until);

-- Forms that met an ended session, sealed, until their person has signed in.
create table kept_forms (
    id         text primary key,
    -- Whose session it was: nobody fills the store alone.
    owner      text not null,
    form       bytea not null,
    expires_at bigint not null
);
create index kept_forms_owner on kept_forms (owner);
create index kept_forms_end on kept_forms (expires_at);

-- Every way in which a session ends is heard by all nodes at its commit.
create function vestibule_session_ended() returns trigger language plpgsql as $$
begin
    perform pg_notify('vestibule_session_ended', new.sid);
    return null;
end
$$;
create trigger session_ended after update of ended_at on sessions
    for each row when (old.ended_at is null and new.ended_at is not null)
    execute function vestibule_session_ended();
