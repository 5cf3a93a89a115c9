PRAGMA user_version = 3;
BEGIN TRANSACTION;
CREATE TABLE access (
            labeler_id INTEGER PRIMARY KEY REFERENCES labelers (id),
            role TEXT NOT NULL,
            token_hash TEXT NOT NULL UNIQUE,
            created_at TEXT NOT NULL
        );
INSERT INTO "access" VALUES(1,'labeler','934990c9f21d1245c3dd02ca22fec728658ebdcbf6dfbe2921a5423d29e7c1f4','2026-11-25T10:00:01.000+00:00');
INSERT INTO "access" VALUES(2,'lead','14e7bdd4c3766a46466c2bf22aefc2a67731053a1e1f767fe9a5e4d7f5612c6d','2026-11-25T10:00:04.000+00:00');
CREATE TABLE annotations (
            id INTEGER PRIMARY KEY,
            task_id INTEGER NOT NULL REFERENCES tasks (id),
            labeler_id INTEGER NOT NULL REFERENCES labelers (id),
            client_uuid TEXT NOT NULL UNIQUE,
            revision INTEGER NOT NULL,
            ranks_json TEXT NOT NULL,
            ratings_json TEXT,
            flags_json TEXT NOT NULL,
            notes TEXT NOT NULL,
            seconds REAL,
            order_json TEXT,
            created_at TEXT NOT NULL, use_case TEXT, program TEXT NOT NULL DEFAULT '',
            UNIQUE (task_id, labeler_id, revision)
        );
INSERT INTO "annotations" VALUES(1,1,3,'robot-1',1,'[2,1,1]',NULL,'{}','',0.1,NULL,'2026-11-25T10:00:12.000+00:00',NULL,'0.1.0');
INSERT INTO "annotations" VALUES(2,1,1,'ann-0',1,'[1,2,3]','[1,7,4]','{"pii":false}','a note',12.5,'[1,2,0]','2026-11-25T10:00:15.000+00:00','chat','0.1.0');
INSERT INTO "annotations" VALUES(3,1,1,'ann-1',2,'[1,3,2]','[1,7,4]','{"pii":false}','a note',12.5,'[1,2,0]','2026-11-25T10:00:19.000+00:00','chat','0.1.0');
CREATE TABLE assignments (
            id INTEGER PRIMARY KEY,
            task_id INTEGER NOT NULL REFERENCES tasks (id),
            labeler_id INTEGER NOT NULL REFERENCES labelers (id),
            state TEXT NOT NULL,
            order_json TEXT NOT NULL,
            touched_at TEXT NOT NULL,
            UNIQUE (task_id, labeler_id)
        );
INSERT INTO "assignments" VALUES(1,1,1,'done','[1,2,0]','2026-11-25T10:00:20.000+00:00');
INSERT INTO "assignments" VALUES(2,3,1,'done','[]','2026-11-25T10:00:24.000+00:00');
INSERT INTO "assignments" VALUES(3,4,1,'open','[0,1]','2026-11-25T10:00:34.000+00:00');
CREATE TABLE completions (
            task_id INTEGER NOT NULL REFERENCES tasks (id),
            position INTEGER NOT NULL,
            text TEXT NOT NULL,
            model TEXT,
            sampling_json TEXT NOT NULL,
            PRIMARY KEY (task_id, position)
        ) WITHOUT ROWID;
INSERT INTO "completions" VALUES(1,0,'Tom.','ab12','{}');
INSERT INTO "completions" VALUES(1,1,'I do not know.',NULL,'{}');
INSERT INTO "completions" VALUES(1,2,'小明。',NULL,'{}');
INSERT INTO "completions" VALUES(4,0,'x',NULL,'{}');
INSERT INTO "completions" VALUES(4,1,'y',NULL,'{}');
CREATE TABLE demonstrations (
            id INTEGER PRIMARY KEY,
            task_id INTEGER NOT NULL REFERENCES tasks (id),
            labeler_id INTEGER NOT NULL REFERENCES labelers (id),
            client_uuid TEXT NOT NULL UNIQUE,
            revision INTEGER NOT NULL,
            text TEXT NOT NULL,
            notes TEXT NOT NULL,
            seconds REAL,
            program TEXT NOT NULL,
            created_at TEXT NOT NULL,
            UNIQUE (task_id, labeler_id, revision)
        );
INSERT INTO "demonstrations" VALUES(1,3,1,'ann-poem',1,'Roses are red','',3.25,'0.1.0','2026-11-25T10:00:23.000+00:00');
CREATE TABLE drafts (
            assignment_id INTEGER PRIMARY KEY REFERENCES assignments (id),
            version INTEGER NOT NULL,
            draft_json TEXT NOT NULL,
            saved_at TEXT NOT NULL
        );
INSERT INTO "drafts" VALUES(3,1,'{"notes":"half"}','2026-11-25T10:00:33.000+00:00');
CREATE TABLE events (
            id INTEGER PRIMARY KEY,
            kind TEXT NOT NULL,
            actor TEXT NOT NULL,
            labeler_id INTEGER REFERENCES labelers (id),
            task_id INTEGER REFERENCES tasks (id),
            detail_json TEXT NOT NULL,
            program TEXT NOT NULL,
            created_at TEXT NOT NULL
        );
INSERT INTO "events" VALUES(1,'invited','command line',1,NULL,'{"role":"labeler"}','0.1.0','2026-11-25T10:00:02.000+00:00');
INSERT INTO "events" VALUES(2,'invited','command line',2,NULL,'{"role":"lead"}','0.1.0','2026-11-25T10:00:05.000+00:00');
INSERT INTO "events" VALUES(3,'signed in','ann',1,NULL,'{}','0.1.0','2026-11-25T10:00:07.000+00:00');
INSERT INTO "events" VALUES(4,'assigned','lea',1,1,'{}','0.1.0','2026-11-25T10:00:14.000+00:00');
INSERT INTO "events" VALUES(5,'assigned','lea',1,1,'{}','0.1.0','2026-11-25T10:00:18.000+00:00');
INSERT INTO "events" VALUES(6,'assigned','lea',1,3,'{}','0.1.0','2026-11-25T10:00:22.000+00:00');
INSERT INTO "events" VALUES(7,'scored','lea',1,3,'{"score":6}','0.1.0','2026-11-25T10:00:25.000+00:00');
INSERT INTO "events" VALUES(8,'forgotten','lea',NULL,NULL,'{"task":2}','0.1.0','2026-11-25T10:00:27.000+00:00');
INSERT INTO "events" VALUES(9,'assigned','ann',1,4,'{}','0.1.0','2026-11-25T10:00:32.000+00:00');
CREATE TABLE forgotten (task_id INTEGER PRIMARY KEY REFERENCES tasks (id), created_at TEXT NOT NULL);
INSERT INTO "forgotten" VALUES(2,'2026-11-25T10:00:26.000+00:00');
CREATE TABLE labelers (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            kind TEXT NOT NULL,
            meta_json TEXT NOT NULL,
            created_at TEXT NOT NULL
        );
INSERT INTO "labelers" VALUES(1,'ann','person','{}','2026-11-25T10:00:00.000+00:00');
INSERT INTO "labelers" VALUES(2,'lea','person','{}','2026-11-25T10:00:03.000+00:00');
INSERT INTO "labelers" VALUES(3,'robot','simulated','{"noise":0.2}','2026-11-25T10:00:11.000+00:00');
CREATE TABLE sessions (
            token_hash TEXT PRIMARY KEY,
            labeler_id INTEGER NOT NULL REFERENCES labelers (id),
            created_at TEXT NOT NULL
        ) WITHOUT ROWID;
INSERT INTO "sessions" VALUES('7e69e76d25692facf6411d7f74272b839ab8f08577dff4c05011aea421b70b7a',1,'2026-11-25T10:00:06.000+00:00');
CREATE TABLE tasks (
            id INTEGER PRIMARY KEY,
            prompt_json TEXT NOT NULL,
            prompt_key TEXT NOT NULL,
            content_key TEXT NOT NULL UNIQUE,
            meta_json TEXT NOT NULL,
            created_at TEXT NOT NULL
        , kind TEXT NOT NULL DEFAULT 'rank', wanted INTEGER NOT NULL DEFAULT 1, screening INTEGER NOT NULL DEFAULT 0, gold_json TEXT);
INSERT INTO "tasks" VALUES(1,'{"prompt":[{"content":"Who keeps a cat? 谁养猫？","role":"user"}]}','f262c1cdf6b5119bc7922df5dd0a7ef7','99bfdcb08c66323e7c49fad239e7662c56cb9daa4191e7c4249ea4d300cd41dd','{}','2026-11-25T10:00:08.000+00:00','rank',2,0,NULL);
INSERT INTO "tasks" VALUES(2,'{"prompt":[{"content":"","role":"user"}]}','','forgotten 2','{}','2026-11-25T10:00:09.000+00:00','forgotten',0,0,NULL);
INSERT INTO "tasks" VALUES(3,'{"prompt":[{"content":"Write a poem","role":"user"}]}','654c25c187c94999bf5abac3201b1261','a54fdee08e489f65c0b79ff930eaad9d09d8b923a203fee0af9d4a44babbf541','{}','2026-11-25T10:00:10.000+00:00','demonstrate',1,0,NULL);
INSERT INTO "tasks" VALUES(4,'{"prompt":[{"content":"Next","role":"user"}]}','db25b1a8880e84916d3f7852cba69ced','09afc91a88ae19b100f4ff23a49056c276de0d0646f137a527490c9affb1a336','{}','2026-11-25T10:00:28.000+00:00','rank',1,0,NULL);
CREATE INDEX tasks_by_prompt ON tasks (prompt_key);
CREATE TRIGGER annotations_refuse_UPDATE BEFORE UPDATE ON annotations 
        BEGIN SELECT RAISE(ABORT, 'annotations are only ever added'); END;
CREATE TRIGGER completions_refuse_UPDATE BEFORE UPDATE ON completions 
        BEGIN SELECT RAISE(ABORT, 'completions are only ever added'); END;
CREATE INDEX assignments_by_labeler ON assignments (labeler_id, state);
CREATE TRIGGER demonstrations_refuse_UPDATE BEFORE UPDATE ON demonstrations 
        BEGIN SELECT RAISE(ABORT, 'demonstrations are only ever added'); END;
CREATE TRIGGER events_refuse_UPDATE BEFORE UPDATE ON events 
        BEGIN SELECT RAISE(ABORT, 'events are only ever added'); END;
CREATE TRIGGER annotations_refuse_DELETE BEFORE DELETE ON annotations WHEN NOT EXISTS (SELECT 1 FROM forgotten WHERE task_id = OLD.task_id)
        BEGIN SELECT RAISE(ABORT, 'annotations are only ever added'); END;
CREATE TRIGGER completions_refuse_DELETE BEFORE DELETE ON completions WHEN NOT EXISTS (SELECT 1 FROM forgotten WHERE task_id = OLD.task_id)
        BEGIN SELECT RAISE(ABORT, 'completions are only ever added'); END;
CREATE TRIGGER demonstrations_refuse_DELETE BEFORE DELETE ON demonstrations WHEN NOT EXISTS (SELECT 1 FROM forgotten WHERE task_id = OLD.task_id)
        BEGIN SELECT RAISE(ABORT, 'demonstrations are only ever added'); END;
CREATE TRIGGER events_refuse_DELETE BEFORE DELETE ON events WHEN NOT EXISTS (SELECT 1 FROM forgotten WHERE task_id = OLD.task_id)
        BEGIN SELECT RAISE(ABORT, 'events are only ever added'); END;
COMMIT;
