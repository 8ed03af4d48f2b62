BEGIN TRANSACTION;
CREATE TABLE campaign (
	id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	pack VARCHAR NOT NULL, 
	profile VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	sandbox VARCHAR NOT NULL, 
	seed BIGINT NOT NULL, 
	trials BIGINT, 
	hours FLOAT, 
	settings VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	stop_reason VARCHAR, 
	created_at DATETIME NOT NULL, 
	ended_at DATETIME, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "campaign" VALUES(1,'night-1','toy','quick','offline','local',7,12,1.5,'{"slots": 2, "ü": ["x"]}','stopped','by hand','2026-11-23 11:40:05.938319','2026-11-23 11:40:06.065815');
INSERT INTO "campaign" VALUES(2,'night-2','toy','quick','offline','local',7,12,1.5,'{"slots": 2, "ü": ["x"]}','running',NULL,'2026-11-23 11:40:05.941376',NULL);
CREATE TABLE edit (
	trial_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	path VARCHAR NOT NULL, 
	search VARCHAR, 
	"replace" VARCHAR NOT NULL, 
	PRIMARY KEY (trial_id, position), 
	FOREIGN KEY(trial_id) REFERENCES trial (id)
);
INSERT INTO "edit" VALUES(1,0,'recipe/train.py','x = 1','x = 2');
INSERT INTO "edit" VALUES(2,0,'recipe/train.py','x = 1','x = 2');
INSERT INTO "edit" VALUES(3,0,'recipe/train.py','x = 1','x = 2');
INSERT INTO "edit" VALUES(4,0,'recipe/train.py','x = 1','x = 2');
INSERT INTO "edit" VALUES(5,0,'recipe/train.py','x = 1','x = 2');
INSERT INTO "edit" VALUES(6,0,'recipe/train.py','x = 1','x = 2');
INSERT INTO "edit" VALUES(7,0,'recipe/train.py',NULL,'z = 3
');
INSERT INTO "edit" VALUES(8,0,'recipe/train.py','x = 1','x = 2');
INSERT INTO "edit" VALUES(9,0,'recipe/train.py','x = 1','x = 2');
CREATE TABLE failure (
	trial_id INTEGER NOT NULL, 
	phase VARCHAR, 
	kind VARCHAR NOT NULL, 
	signature VARCHAR NOT NULL, 
	excerpt VARCHAR NOT NULL, 
	seed BIGINT, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trial (id)
);
INSERT INTO "failure" VALUES(5,'train','oom','RuntimeError: out of memory (N GiB)','torch: out of memory, 12 GiB',3);
INSERT INTO "failure" VALUES(6,'score','gate','gate accuracy missed','0.7 < 0.8',NULL);
INSERT INTO "failure" VALUES(7,NULL,'edit','the search text does not occur','nope',NULL);
INSERT INTO "failure" VALUES(8,NULL,'infrastructure','daemon gone','daemon gone',NULL);
CREATE TABLE gate (
	trial_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	value FLOAT NOT NULL, 
	"limit" FLOAT NOT NULL, 
	margin FLOAT NOT NULL, 
	PRIMARY KEY (trial_id, position), 
	FOREIGN KEY(trial_id) REFERENCES trial (id)
);
INSERT INTO "gate" VALUES(1,0,'accuracy',0.9,0.8,0.1);
INSERT INTO "gate" VALUES(3,0,'accuracy',0.9,0.8,0.1);
INSERT INTO "gate" VALUES(6,0,'accuracy',0.7,0.8,-0.1);
INSERT INTO "gate" VALUES(4,0,'accuracy',0.9,0.8,0.1);
CREATE TABLE measure (
	trial_id INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	value FLOAT NOT NULL, 
	PRIMARY KEY (trial_id, run, name), 
	FOREIGN KEY(trial_id) REFERENCES trial (id)
);
INSERT INTO "measure" VALUES(1,0,'train.cpu_seconds',2.5);
INSERT INTO "measure" VALUES(1,0,'score.accuracy',0.9);
INSERT INTO "measure" VALUES(1,1,'train.cpu_seconds',2.5);
INSERT INTO "measure" VALUES(1,1,'score.accuracy',0.9);
INSERT INTO "measure" VALUES(3,0,'train.cpu_seconds',2.5);
INSERT INTO "measure" VALUES(3,0,'score.accuracy',0.9);
INSERT INTO "measure" VALUES(3,1,'train.cpu_seconds',2.5);
INSERT INTO "measure" VALUES(3,1,'score.accuracy',0.9);
INSERT INTO "measure" VALUES(5,0,'train.cpu_seconds',2.5);
INSERT INTO "measure" VALUES(5,0,'score.accuracy',0.9);
INSERT INTO "measure" VALUES(5,1,'train.cpu_seconds',2.5);
INSERT INTO "measure" VALUES(5,1,'score.accuracy',0.9);
INSERT INTO "measure" VALUES(6,0,'train.cpu_seconds',2.5);
INSERT INTO "measure" VALUES(6,0,'score.accuracy',0.9);
INSERT INTO "measure" VALUES(6,1,'train.cpu_seconds',2.5);
INSERT INTO "measure" VALUES(6,1,'score.accuracy',0.9);
INSERT INTO "measure" VALUES(4,0,'train.cpu_seconds',2.5);
INSERT INTO "measure" VALUES(4,0,'score.accuracy',0.9);
INSERT INTO "measure" VALUES(4,1,'train.cpu_seconds',2.5);
INSERT INTO "measure" VALUES(4,1,'score.accuracy',0.9);
INSERT INTO "measure" VALUES(7,0,'train.cpu_seconds',2.5);
INSERT INTO "measure" VALUES(7,0,'score.accuracy',0.9);
INSERT INTO "measure" VALUES(7,1,'train.cpu_seconds',2.5);
INSERT INTO "measure" VALUES(7,1,'score.accuracy',0.9);
INSERT INTO "measure" VALUES(8,0,'train.cpu_seconds',2.5);
INSERT INTO "measure" VALUES(8,0,'score.accuracy',0.9);
INSERT INTO "measure" VALUES(8,1,'train.cpu_seconds',2.5);
INSERT INTO "measure" VALUES(8,1,'score.accuracy',0.9);
CREATE TABLE message (
	campaign_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	round_number INTEGER, 
	trial_number INTEGER, 
	source VARCHAR NOT NULL, 
	type VARCHAR NOT NULL, 
	payload VARCHAR NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (campaign_id, position), 
	FOREIGN KEY(campaign_id, round_number) REFERENCES round (campaign_id, number), 
	FOREIGN KEY(campaign_id, trial_number) REFERENCES trial (campaign_id, number), 
	FOREIGN KEY(campaign_id) REFERENCES campaign (id)
);
INSERT INTO "message" VALUES(1,0,1,1,'ann','TextMessage','{"content": "hello ü"}','2026-11-23 11:40:06.061522');
INSERT INTO "message" VALUES(1,1,NULL,NULL,'bob','TextMessage','{"content": "bye"}','2026-11-23 11:40:06.064887');
CREATE TABLE parent (
	trial_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	parent_id INTEGER NOT NULL, 
	PRIMARY KEY (trial_id, position), 
	FOREIGN KEY(trial_id) REFERENCES trial (id), 
	FOREIGN KEY(parent_id) REFERENCES trial (id)
);
INSERT INTO "parent" VALUES(3,0,1);
INSERT INTO "parent" VALUES(4,0,3);
INSERT INTO "parent" VALUES(5,0,1);
INSERT INTO "parent" VALUES(6,0,5);
INSERT INTO "parent" VALUES(6,1,3);
INSERT INTO "parent" VALUES(7,0,1);
INSERT INTO "parent" VALUES(8,0,1);
INSERT INTO "parent" VALUES(9,0,1);
CREATE TABLE recipe_file (
	sha256 VARCHAR NOT NULL, 
	content VARCHAR NOT NULL, 
	PRIMARY KEY (sha256)
);
INSERT INTO "recipe_file" VALUES('6c7d0709259156f752ff96ca615b529c2be0adbbb451cab51b12eb916d37774c','LR = 0.05  # knob opt: 0.01 .. 0.5 log
x = 1
');
INSERT INTO "recipe_file" VALUES('f469842763db3981070764f968bbc779cb0779f326e386b99bbe3431f8f30c49','y = 2
');
INSERT INTO "recipe_file" VALUES('4c500c2db2a8f3b375b0563a98eac2101a627b7502e12cd2abe27f9123804cd4','y = 3
');
CREATE TABLE recipelab_lineage (
	version INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "recipelab_lineage" VALUES(1,'2026-11-23 11:40:05.927197');
CREATE TABLE round (
	campaign_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	started_at DATETIME NOT NULL, 
	ended_at DATETIME, 
	PRIMARY KEY (campaign_id, number), 
	FOREIGN KEY(campaign_id) REFERENCES campaign (id)
);
INSERT INTO "round" VALUES(1,1,'2026-11-23 11:40:05.950810','2026-11-23 11:40:06.065663');
CREATE TABLE seed_run (
	trial_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	seed BIGINT NOT NULL, 
	PRIMARY KEY (trial_id, position), 
	FOREIGN KEY(trial_id) REFERENCES trial (id)
);
INSERT INTO "seed_run" VALUES(1,0,0);
INSERT INTO "seed_run" VALUES(1,1,1099511627776);
INSERT INTO "seed_run" VALUES(3,0,0);
INSERT INTO "seed_run" VALUES(3,1,1099511627776);
INSERT INTO "seed_run" VALUES(5,0,0);
INSERT INTO "seed_run" VALUES(5,1,1099511627776);
INSERT INTO "seed_run" VALUES(6,0,0);
INSERT INTO "seed_run" VALUES(6,1,1099511627776);
INSERT INTO "seed_run" VALUES(4,0,0);
INSERT INTO "seed_run" VALUES(4,1,1099511627776);
INSERT INTO "seed_run" VALUES(7,0,0);
INSERT INTO "seed_run" VALUES(7,1,1099511627776);
INSERT INTO "seed_run" VALUES(8,0,0);
INSERT INTO "seed_run" VALUES(8,1,1099511627776);
CREATE TABLE timing (
	trial_id INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	phase VARCHAR NOT NULL, 
	wall_seconds FLOAT NOT NULL, 
	cpu_seconds FLOAT NOT NULL, 
	peak_memory_mb FLOAT, 
	PRIMARY KEY (trial_id, run, position), 
	FOREIGN KEY(trial_id) REFERENCES trial (id)
);
INSERT INTO "timing" VALUES(1,0,0,'train',1.5,2.5,100.0);
INSERT INTO "timing" VALUES(1,0,1,'score',0.5,0.25,NULL);
INSERT INTO "timing" VALUES(1,1,0,'train',1.5,2.5,100.0);
INSERT INTO "timing" VALUES(1,1,1,'score',0.5,0.25,NULL);
INSERT INTO "timing" VALUES(3,0,0,'train',1.5,2.5,100.0);
INSERT INTO "timing" VALUES(3,0,1,'score',0.5,0.25,NULL);
INSERT INTO "timing" VALUES(3,1,0,'train',1.5,2.5,100.0);
INSERT INTO "timing" VALUES(3,1,1,'score',0.5,0.25,NULL);
INSERT INTO "timing" VALUES(5,0,0,'train',1.5,2.5,100.0);
INSERT INTO "timing" VALUES(5,0,1,'score',0.5,0.25,NULL);
INSERT INTO "timing" VALUES(5,1,0,'train',1.5,2.5,100.0);
INSERT INTO "timing" VALUES(5,1,1,'score',0.5,0.25,NULL);
INSERT INTO "timing" VALUES(6,0,0,'train',1.5,2.5,100.0);
INSERT INTO "timing" VALUES(6,0,1,'score',0.5,0.25,NULL);
INSERT INTO "timing" VALUES(6,1,0,'train',1.5,2.5,100.0);
INSERT INTO "timing" VALUES(6,1,1,'score',0.5,0.25,NULL);
INSERT INTO "timing" VALUES(4,0,0,'train',1.5,2.5,100.0);
INSERT INTO "timing" VALUES(4,0,1,'score',0.5,0.25,NULL);
INSERT INTO "timing" VALUES(4,1,0,'train',1.5,2.5,100.0);
INSERT INTO "timing" VALUES(4,1,1,'score',0.5,0.25,NULL);
INSERT INTO "timing" VALUES(7,0,0,'train',1.5,2.5,100.0);
INSERT INTO "timing" VALUES(7,0,1,'score',0.5,0.25,NULL);
INSERT INTO "timing" VALUES(7,1,0,'train',1.5,2.5,100.0);
INSERT INTO "timing" VALUES(7,1,1,'score',0.5,0.25,NULL);
INSERT INTO "timing" VALUES(8,0,0,'train',1.5,2.5,100.0);
INSERT INTO "timing" VALUES(8,0,1,'score',0.5,0.25,NULL);
INSERT INTO "timing" VALUES(8,1,0,'train',1.5,2.5,100.0);
INSERT INTO "timing" VALUES(8,1,1,'score',0.5,0.25,NULL);
CREATE TABLE trial (
	id INTEGER NOT NULL, 
	campaign_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	round_number INTEGER, 
	specialist VARCHAR NOT NULL, 
	surface VARCHAR NOT NULL, 
	hypothesis VARCHAR NOT NULL, 
	expected_delta FLOAT NOT NULL, 
	digest VARCHAR NOT NULL, 
	diff VARCHAR NOT NULL, 
	proposed_at DATETIME NOT NULL, 
	status VARCHAR, 
	judged_order INTEGER, 
	judged_at DATETIME, 
	reason VARCHAR NOT NULL, 
	score FLOAT, 
	score_se FLOAT, 
	delta FLOAT, 
	delta_se FLOAT, 
	cpu_seconds FLOAT NOT NULL, 
	log_tail VARCHAR NOT NULL, 
	environment VARCHAR NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (campaign_id, number), 
	UNIQUE (campaign_id, judged_order), 
	FOREIGN KEY(campaign_id, round_number) REFERENCES round (campaign_id, number), 
	FOREIGN KEY(campaign_id) REFERENCES campaign (id)
);
INSERT INTO "trial" VALUES(1,1,0,NULL,'optimizer','opt','the start',-0.1,'d0','--- a/recipe/train.py
+++ b/recipe/train.py
@@ -1,2 +1,2 @@
-x = 1
+x = 2
','2026-11-23 11:40:05.957462','baseline',1,'2026-11-23 11:40:05.970450','it is baseline',1.0,0.01,-0.1,0.02,5.5,'log …
','docker cpu');
INSERT INTO "trial" VALUES(2,2,0,NULL,'optimizer','opt','the start',-0.1,'d0','--- a/recipe/train.py
+++ b/recipe/train.py
@@ -1,2 +1,2 @@
-x = 1
+x = 2
','2026-11-23 11:40:05.964885',NULL,NULL,NULL,'',NULL,NULL,NULL,NULL,0.0,'','');
INSERT INTO "trial" VALUES(3,1,1,1,'optimizer','opt','a smaller step helps — ü',-0.1,'d1','--- a/recipe/train.py
+++ b/recipe/train.py
@@ -1,2 +1,2 @@
-x = 1
+x = 2
','2026-11-23 11:40:05.981234','kept',2,'2026-11-23 11:40:05.984931','it is kept',0.9,0.01,-0.1,0.02,5.5,'log …
','docker cpu');
INSERT INTO "trial" VALUES(4,1,2,1,'optimizer','opt','late one',-0.1,'d1','--- a/recipe/train.py
+++ b/recipe/train.py
@@ -1,2 +1,2 @@
-x = 1
+x = 2
','2026-11-23 11:40:05.988914','kept',5,'2026-11-23 11:40:06.024845','it is kept',0.8,0.01,-0.1,0.02,5.5,'log …
','docker cpu');
INSERT INTO "trial" VALUES(5,1,3,1,'ann','arch','wider',-0.1,'d3','--- a/recipe/train.py
+++ b/recipe/train.py
@@ -1,2 +1,2 @@
-x = 1
+x = 2
','2026-11-23 11:40:05.992918','crashed',3,'2026-11-23 11:40:06.000929','it is crashed',NULL,0.01,NULL,0.02,5.5,'log …
','docker cpu');
INSERT INTO "trial" VALUES(6,1,4,1,'ann','arch','narrower',-0.1,'d1','--- a/recipe/train.py
+++ b/recipe/train.py
@@ -1,2 +1,2 @@
-x = 1
+x = 2
','2026-11-23 11:40:06.009035','gate_missed',4,'2026-11-23 11:40:06.016823','it is gate_missed',0.5,0.01,-0.1,0.02,5.5,'log …
','docker cpu');
INSERT INTO "trial" VALUES(7,1,5,1,'optimizer','opt','does not apply',-0.1,'','','2026-11-23 11:40:06.032881','rejected',6,'2026-11-23 11:40:06.033461','it is rejected',NULL,0.01,NULL,0.02,5.5,'log …
','docker cpu');
INSERT INTO "trial" VALUES(8,1,6,1,'optimizer','opt','stopped',-0.1,'d1','--- a/recipe/train.py
+++ b/recipe/train.py
@@ -1,2 +1,2 @@
-x = 1
+x = 2
','2026-11-23 11:40:06.040916','aborted',7,'2026-11-23 11:40:06.048829','it is aborted',NULL,0.01,NULL,0.02,5.5,'log …
','docker cpu');
INSERT INTO "trial" VALUES(9,1,7,1,'optimizer','opt','still running',-0.1,'d9','--- a/recipe/train.py
+++ b/recipe/train.py
@@ -1,2 +1,2 @@
-x = 1
+x = 2
','2026-11-23 11:40:06.056973',NULL,NULL,NULL,'',NULL,NULL,NULL,NULL,0.0,'','');
CREATE TABLE trial_file (
	trial_id INTEGER NOT NULL, 
	path VARCHAR NOT NULL, 
	sha256 VARCHAR NOT NULL, 
	PRIMARY KEY (trial_id, path), 
	FOREIGN KEY(trial_id) REFERENCES trial (id), 
	FOREIGN KEY(sha256) REFERENCES recipe_file (sha256)
);
INSERT INTO "trial_file" VALUES(1,'recipe/train.py','6c7d0709259156f752ff96ca615b529c2be0adbbb451cab51b12eb916d37774c');
INSERT INTO "trial_file" VALUES(1,'recipe/model.py','f469842763db3981070764f968bbc779cb0779f326e386b99bbe3431f8f30c49');
INSERT INTO "trial_file" VALUES(2,'recipe/train.py','6c7d0709259156f752ff96ca615b529c2be0adbbb451cab51b12eb916d37774c');
INSERT INTO "trial_file" VALUES(2,'recipe/model.py','f469842763db3981070764f968bbc779cb0779f326e386b99bbe3431f8f30c49');
INSERT INTO "trial_file" VALUES(3,'recipe/train.py','6c7d0709259156f752ff96ca615b529c2be0adbbb451cab51b12eb916d37774c');
INSERT INTO "trial_file" VALUES(3,'recipe/model.py','f469842763db3981070764f968bbc779cb0779f326e386b99bbe3431f8f30c49');
INSERT INTO "trial_file" VALUES(4,'recipe/train.py','6c7d0709259156f752ff96ca615b529c2be0adbbb451cab51b12eb916d37774c');
INSERT INTO "trial_file" VALUES(4,'recipe/model.py','f469842763db3981070764f968bbc779cb0779f326e386b99bbe3431f8f30c49');
INSERT INTO "trial_file" VALUES(5,'recipe/train.py','6c7d0709259156f752ff96ca615b529c2be0adbbb451cab51b12eb916d37774c');
INSERT INTO "trial_file" VALUES(5,'recipe/model.py','4c500c2db2a8f3b375b0563a98eac2101a627b7502e12cd2abe27f9123804cd4');
INSERT INTO "trial_file" VALUES(6,'recipe/train.py','6c7d0709259156f752ff96ca615b529c2be0adbbb451cab51b12eb916d37774c');
INSERT INTO "trial_file" VALUES(6,'recipe/model.py','f469842763db3981070764f968bbc779cb0779f326e386b99bbe3431f8f30c49');
INSERT INTO "trial_file" VALUES(8,'recipe/train.py','6c7d0709259156f752ff96ca615b529c2be0adbbb451cab51b12eb916d37774c');
INSERT INTO "trial_file" VALUES(8,'recipe/model.py','f469842763db3981070764f968bbc779cb0779f326e386b99bbe3431f8f30c49');
INSERT INTO "trial_file" VALUES(9,'recipe/train.py','6c7d0709259156f752ff96ca615b529c2be0adbbb451cab51b12eb916d37774c');
INSERT INTO "trial_file" VALUES(9,'recipe/model.py','f469842763db3981070764f968bbc779cb0779f326e386b99bbe3431f8f30c49');
CREATE INDEX trial_digest ON trial (campaign_id, digest, number);
CREATE INDEX trial_score ON trial (campaign_id, score, number);
CREATE INDEX trial_status ON trial (campaign_id, status, judged_order);
CREATE INDEX trial_surface ON trial (campaign_id, surface, number);
CREATE INDEX trial_specialist ON trial (campaign_id, specialist, number);
CREATE INDEX ix_parent_parent_id ON parent (parent_id);
CREATE INDEX ix_failure_signature ON failure (signature);
CREATE INDEX ix_failure_kind ON failure (kind);
CREATE INDEX message_round ON message (campaign_id, round_number);
CREATE INDEX message_trial ON message (campaign_id, trial_number);
COMMIT;
