/**
 * The 7,500 commonest English words of 3–11 letters, in order of frequency.
 *
 * Source  counted for this project in the books of the models' training, texts of Project Gutenberg in the public domain in the
 *         United States; lower case, letters a–z only. Ranks are facts about those books; the list may be used freely.
 * Note    the models' training used a longer list of the same counts (18,186 words): `length`, `letters` and `revword` of level 2
 *         then reach to rank 12,000. Pass it as `material.words` where that matters.
 */
const text = `
the and was that his you had with for her not she him said but have they all were from one which this would them out
are when been will there who their could man what into like little your very more about time did can down some see
know upon then now over only than has any before old came good other two never much must made back went come day way
should our think again well away long great after thought where say here himself such too first eyes don how might
its just through get men asked own make off may face saw looked last shall even young take hand head life got house
room once night while still these found nothing tell without thing though right took every look going things being
ever place most knew people seemed always quite many put left something heard three home father told give another
woman door because boy those under mother same let work girl yet find done began better cried felt hands enough side
soon mind seen far want heart half years round turned moment love stood white till world each answered few morning
gave against new course voice water herself anything looking money called next sat poor sure almost end myself set
days both whole rather name lay dear gone best along really wife between behind feet brought light until among
friend full small word words matter together keep also part air does child passed black children help hear since
kind whom believe won big replied fell dead open evening taken alone country wish boys having feel sir cannot others
says fire near hope high indeed hard sea bed five leave mean didn beautiful suddenly hour dark however read talk
perhaps large table used lady red nor pretty four coming understand themselves sort speak across lost call true
least hundred care held rest son ask ran friends business story toward window returned given everything kept fact
sent death times already town above spoke often whose strange else rose glad ready live hair around short wanted
happy suppose known case women fellow arms horse ground able followed turn close strong body less bad sight letter
run idea year met saying opened tree walked use became making afraid reached boat tried ten second cold sound need
remember road sun certain fear fine present later within lived happened return brother point carried order wind
longer answer book laughed yourself forward try gold trees twenty play feeling whether doing cut doubt daughter
bring sleep reason blue pay thousand green hold itself either entered show possible ought low several appeared eye
garden arm real husband manner exclaimed minutes girls past chance means sitting sister family drew caught thinking
deep added question hours front become clear led trouble week standing taking six certainly ship smile bit foot seem
grew land wild seems river struck dog stand slowly getting interest stopped truth earth heavy continued master comes
dinner human person silence meet village soul eat ago gentleman power wouldn loved stay mouth city sometimes laid
party mine doctor chair died beyond wonder different quiet living walk deal floor dollars wall none wood paper
pleasure late beside nearly cry started hardly isn minute fair except received towards top broke knows blood married
fall ill quickly lips nature bear remained line filled sense die laugh street waiting sudden wrong broken corner
clock talking change war showed stone tone shook sit school books trying straight position easy rich wait early free
instant sorry surprise miles nice tears distance learned bright send dress outside carry watch fight save glass fast
please sweet neither figure hat secret clothes months write seeing forth tired flowers company silent creature
forget moved box makes horses form news lying covered afternoon age morrow pleased attention further general watched
worth forest fresh soft thus terrible pocket pass pale beginning piece smiled warm expression likely wished neck
thoughts church pleasant drink paid joy talked stop safe hot escape tall shot turning step strength ain office
placed breath food desire palace begin beauty steps youth looks following running liked legs account changed raised
spirit lie angry quick visit goes subject arrived sky killed guess law single snow seven expected tea ears state
whispered follow shoulder board necessary written whatever marry decided usual bird third forgotten exactly plain
picture reply thou immediately letters direction lives leaving danger shut closed service view shoulders common
heads waited golden number length merely hall sharp surprised start summer presence cause asleep wide born worse
appearance impossible fallen spring fifty grass dream walls carriage chief natural middle bank self train simple
yellow shore remarked quietly duty wonderful reach finished brown act frightened break walking spent remembered
shouted note touched darkness faces mad dressed character glance public island journey expect places leaves entirely
discovered kill bound grown listened haven fancy blow sword lot camp opinion hurt speaking fortune effect drawing
touch ones learn rock houses companion castle repeated knowledge path inside giving ring anxious nose silver lovely
understood force scarcely mere explained spot proud laughing noticed sick plan dare grave music sake charge spite
move lad remain catch birds demanded thin edge cast eight played serious gate fingers happiness notice thick seat
hill game smiling pain crowd breakfast perfectly cross coat officer worked especially happen baby smoke art thank
believed allowed ways evidently peace promised empty stranger splendid speech knowing sad promise month sign fish
fond windows ear declared huge cat handsome important watching alive agreed broad dozen deck telling rain scene
carefully field kitchen drawn winter questions lose weeks future enemy bottom holding seized thirty rooms object
drove bread curious reading spoken delight purpose servant wine army fool listen working particular buy soldiers
weather iron ordered burst success battle pulled narrow latter dogs presently noise difficult obliged busy rate
settled history supper beat bent teeth nobody passing writing study fat brave orders society pointed opposite kissed
papers awful interested rough hole loud comfort shadow clever lifted roof determined drive experience greater knees
saved evil perfect gray growing excitement pair fly fit picked mountain court offered built pity interesting
suggested clean search marriage considered occasion mighty offer rushed attempt stairs ahead twelve grow servants
lead fixed imagine courage fashion terror meeting engaged song honour respect fellows playing softly class moon
passage proper pride wise attack guard luck hills knife tongue station honest private dry prepared pieces spread
harm ride soldier noble wants opening explain beast rolled appear cousin thrown kindly ice finally fighting
difficulty nearer proved fate bow spirits rope streets aside observed memory situation race draw queer rising crying
hidden stream lines flower hotel tale stick trust feelings cabin moving forty satisfied rapidly laughter grey caused
falling tail weak stepped dreadful gathered command comfortable dance chamber names suit altogether bore forced vain
skin drop breast prove fairy dull doors mile store nine affair shop animal magic ape allow matters wear lower throw
native effort disappeared dust flying singing result plenty stones storm putting priest share paused finding meaning
fun glanced delighted ended lighted trail inquired creatures sing opportunity seated voices ball gentle officers
throat maid brothers yard quarter greatly post bell excited carrying valley sides lies anger ordinary wet language
car actually helped sand stretched welcome rise cheeks enter hungry wings loss devil boats fault mistake farther
lion tender excellent keeping managed building condition cook needed generally hurry grand takes directly cloth
eagerly taste surely worst woods ceased health shining joined somewhere higher asking enjoy hearts ate aware finger
sighed wondered heaven formed farm difference fifteen crossed jungle approached fields possession greatest failed
brain boots yesterday couple cap advice friendly stage ashamed former judge modern handed hide hurried hoped square
refused curiosity dared calling sought charming action nurse flat gun bare confidence stars careful sang kiss
supposed lamp existence wicked bottle hut chest mountains horror burning served persons worn pressed sigh slow space
main minister advantage savage relief forehead consider various lonely weight entrance delicate gently pipe buried
slight property intended bye thinks driven stared foolish dangerous wedding speed listening prisoner yards north
hate jumped succeeded faint willing sooner pictures shoes temper hearing tiny gazed possessed meal animals leading
calm trembling innocent fairly bridge meat craft receive delightful realized eating tied plans milk leg beach join
powerful swept muttered moments dying murmured branches coast cruel giant clouds sounds beg sell marked bowed
instantly announced complete instance occupied hero eager regard pounds distant pause ugly treated value bag ships
price police bitter faith accept evident faced unhappy leaned cost odd gay regarded loose suffered honor task flesh
rule shame match pick pushed sail spend shaking hit silly older rage midst movement surface familiar dreams
naturally key usually south tower information fully hanging unknown despair wooden escaped circle influence passion
merry habit mark weary cool example feared choose affection enjoyed regular affairs row sleeping gets dancing hers
cave forgive size basket ancient younger hunting sisters rush royal wounded parts proceeded drunk seek due
apparently sorrow guns kindness mystery strike evidence sum blind cottage roses recognized spare silk stout advanced
gives companions knocked trade otherwise famous vanished lights mysterious firm message shape brief adventure
expressed folk cloud staring prevent leaped uttered rocks win sunshine startled terms beasts miserable accident mate
deeply accepted named content equal thrust stern locked style colour report group nervous arranged unable prison
fierce awake wondering riding truly flight horrible warriors cheek beard joke presented personal sold remarkable
mentioned breaking plainly net somebody folks bearing cover hid wishes special grateful accustomed excuse waves pull
treasure maiden sounded thanks larger ideas equally justice precious burned crew sorts thoroughly absolutely assured
advance job faithful stayed sheep countenance admit suffering wound closely pray useful pink daily cheerful
convinced adventures stupid upper interrupted leaning teach parents mention grandfather pure mistress crown conduct
alarm manners works ease sympathy conscious brilliant machine lawyer stands express pardon drinking double
impression peculiar vessel address hopes climbed entire astonished blame explanation returning shake arrival cow
guests manage assure claim clearly admiration bush features cup surrounded gained bones lover suffer showing smell
band false fled figures stuck nights bade fetch aid sufficient importance concerned worthy whisper grief badly slave
eyed headed fill completely cared charm vast regret danced gravely safety haste dawn shadows absence troops steady
travel remark painted events hated mounted risk serve hesitated anxiety funny shock color smooth throne produced
sharply wandered gift jolly kingdom cloak east struggle points bushes government dreamed carpet accompanied
suspicion according discover chosen trip removed intention stronger attitude count troubled wheel practical keen
approaching required chap mistaken seriously fur tales shout fruit apart warning liberty waters bringing stuff apple
height similar desired wholly bride leader agree friendship poetry driving anxiously firmly inclined guide grace
swiftly facts lads rested earnest signs heat poet plate farmer gazing poured trunk agreeable dignity rolling
deserted desperate lake puzzled moral dining pot invited recovered becoming level discovery mass scarce support
patient cases belonged solid someone hastened guessed page clerk degree reward dim pointing credit sons dirty
furniture heap emotion bitterly rifle minds slaves nearest remains chain gasped armed wealth avoid sailor amused
sees enormous slightly trick concluded belong refuse resolved candle wave knee coffee steel eleven tones smoking
roar scattered torn setting nonsense stiff reflected wake social dollar daylight star dashed stole freedom judgment
period upstairs papa landed fever amount original march favour missed type engine midnight quarters rejoined artist
elder imagination popular quarrel centre foreign amazement useless jump daughters tells partly choice efforts
proposed fired peasant waste stock nest utter tribe extremely strangers gain insisted crowded hearted proof knights
authority addressed fail notes cart crime cleared properly waved hang estate unfortunate lest moonlight heels
suggestion lit visitor capital education desert shade gown raise gaze ends natives worry fastened rare progress
silently beating increased confess hollow merchant approach calmly cake washed bold custom tore settle add fox
commanded climb rear unusual details pig safely relations mercy loving thief bells bar throwing highest flash rank
gratitude abruptly beer inn disturbed shirt event beaten writer abroad lesson swear flushed murder guilty mud sofa
lightly highly darling slip turns naked purple tobacco owner gradually thousands club earnestly glasses imagined
shoot calls shelter described treat control saddle straw rid capable helpless closer respectable cliff audience
afford successful sailors roll smaller sensible author frequently marble magnificent prayer unconscious cents
venture vague prisoners unexpected humble wearing mood branch generous confusion needs attend flame lively relieved
student doorway patience continue pace pockets guest conscience hiding sailed acquainted solemn shouting chairs
cattle military parted trembled religion tent flashed shed assistance tight examined leaf warned valuable tide desk
singular longing portion striking season witch sadly slender sixty widow tear rude century yer swift superior gates
sentence wisdom wandering obtained salt glory ignorant string contrary longed eggs ladder vision delay trial
suspected warn romance mamma energy devoted immense wash finish belief regiment fed loves utterly pile visible lock
teacher gardens resumed waving secure violent reasons chin voyage beloved amusement request feast knight outer spell
steamer steep lucky conclusion today likes landing triumph squire ruin retired prize coloured collar slightest
signal fortunate railway direct wolf constantly concealed extreme praise card frame powers motionless agent dressing
fourth practice farewell score lift whip painful port attracted atmosphere steal favor exhausted knock waist mental
gesture pistol bull hunt appears absurd contained bay supply subjects gloomy provided obtain library reckon
melancholy continually employed prefer grandmother noon weakness holy unpleasant attached hideous learning fishing
strongly noted sunset mouse cats active sin birth final bosom lack glorious plunged wrapped nephew visited reader
material track consequence introduced yonder lunch pack instinct tomorrow sacred lately roads descended interview
happens lane sheet glow feathers gods member informed theatre necessity argument decent revolver science departure
missing humour curiously failure household weeping build promptly fancied shortly perceived rapid notion trifle pen
apartment hunger marched youngest beds connection realize physical colored suspect furious eldest smart troubles
romantic songs urged decide overcome crazy previous seconds fitted bedroom screamed conviction upward blows spear
lessons consent breathing extent breathed constant exercise bargain shows current favourite newspaper theory soup
lantern brow dragon stove burn tin members incident pony horrid expecting stirred goodness brute departed connected
begins nerves market handle forms canoe plays punishment souls shell obey trace measure earn wretched enthusiasm
ghost hell oil succeed motion comrades volume trap exist loudly cutting idle stable leather brush affected bath
curtain awakened roared velvet boxes engagement downstairs fears extra beings faded deny invitation description inch
ocean entering mixed meantime weapon system skill ruined angel aroused sacrifice misfortune immediate polite scheme
gladly goods alarmed acted cheerfully passengers burden hoping fog retorted divided plot reminded healthy base
hearty folded reputation rosy drowned misery seeking attempted holes driver breeze halted literature district
amusing obeyed wishing park directions deeper genius mill bewildered scream lands visitors permission lend college
ventured jewels weapons statement fashioned cards thunder uniform center title stir distress attacked conditions
grim demand scent occasions neat keeps madam problem pages related bundle invisible banks directed bid glimpse
cunning severe sensation cage stomach pillow leap dried appeal remarks revealed grasp witness host drops paint pool
manager destroyed cheer autumn lean owe paying hundreds sticks bench recalled admired extended wildly touching
responded virtue starting medicine depths folly tramp sack lap literary established decision platform political
freely ages mist backward losing thanked anchor experienced victory permit prospect bless gather tie stopping novel
feels twilight guards blacks awkward feed article dish blowing expedition victim amazed solitary attended check
islands correct chances career official cure floating cent cautiously threatened wives peasants cheap articles
butter mischief female wheels characters senses cigar heavens resting swinging stroke bits fence plates runs
captured list impatiently balance admire careless daring fury hint warmly laying fleet sending sentiment reaching
uneasy grounds ridiculous lots genuine counted detective minded nation pit haired flames assumed bet remaining
detail lieutenant brook eighteen mingled clasped disposed rescue behold examination seventy whistle describe damp
earlier solemnly fer alike tailor numbers greeted cab becomes views clearing reality movements marks rushing
messenger blessed produce charged dishes lightning quality reflection tossed commenced dreaming brings observe
pursuit dropping impressed image contempt twisted concerning dresses travelling services per lace scarlet contented
mirror series horn intense prayed endure date risen ceremony acting hedge jest chimney contents childhood upset
enjoying intelligent pulling frozen stammered penny lowered hatred hospital hopeless separated trained growled
curtains corn amiable deceived steam veil absent shrill warmth fearful inhabitants scared corners wit bills shaken
gang fires goat principal betrayed beautifully strangely ignorance signed raising graceful aged objection trusted
shooting deed limbs recall destroy francs seas worried examine slain arrested advise numerous roused method
appointed villages accompany egg wing seats letting floated newspapers sunk walks belt prevented brass deadly
interests follows blown tenderness trousers indignation laws council mission exact apples barn stricken fortnight
sore require emerged disposition furnished confused motor owned delicious pretended agony procession conceal
schooner wanting scenes bullet gloves crushed sixteen terrified poverty deserve dearest bite apparent corridor
propose suggest strain questioned sits sweep upright crack faster grip bigger thoughtful kinds intimate errand
protection shy falls swords actual interfere protested expense tables fist sugar prayers garments pearls kings
depend catching dismay gathering intend flag purse resist phrase absolute gifts press studied test repeat tremendous
finds policeman bone amuse favorite annoyed frightful completed preferred staying sunlight monster crimson timid
clad philosophy neighbours cock roots religious defence protect lawn sleepy packed orchard staircase exchange
colours obvious profession jacket changing priests fright gracious jealous sober rail chase inner aspect horizon
beggar footsteps capture arrive recognize pursued prepare harbour printed stooped pretend exciting tragedy
exclamation reasonable dread monkey retreat responsible positive rendered impulse violently swim flood possibility
warrior coach suspicious delivered inches snake loaded process distinctly concern roaring restless facing gas
funeral belongs sternly tops oak linen secured composed awfully pine assist drag appetite mortal sailing pour using
rent gloom plant wages modest log rabbit indifferent represented fix cooking preparing courtyard deer discussion
elegant childish soil oars ideal income million scientific lions presents compared interior rocky bending rights
recover glancing shan arrow searched humanity holiday groaned dumb confessed secretly bars gossip tenderly echoed
developed arrows ceiling lofty possess unlike struggled collected treatment record indignant injured celebrated coal
parting niece cellar hurriedly lip labour stately training winds individual natured bears exception occasional
picking deeds landlord der les travelled persuaded stretch mild finest backs judged clay politely range writes
eternal partner carved searching ashes crash tonight created load ragged politics palm elbow buildings pound towns
proudly glowing mothers speaks performance housekeeper hats remembering weep compliment masters humor bark forces
shouts bowl relation sinking threshold shocked passionate coarse behaved declare changes piano vessels awaiting prey
patch neglected neighbor benefit bred defend shudder indignantly committed sails staff awe seize bother coffin
exceedingly erect wire pains practically absorbed utmost containing glittering examining diamonds den millions
boldly portrait crossing hurled grows roughly spy selected helping coldly downward visits struggling chanced
swallowed separate assembled arrest hesitation rascal glances chill impatient mankind sink proceed doctors tumbled
local neighbors carelessly holds supported spoil fiercely pigs winding dignified habits murmur refuge lasted tricks
counsel flies intervals hired summit yelled selfish advised regarding bunch performed pressing games earned rubbing
vanity pleasantly feeble smiles wrath arrangement considering summoned powder satisfy startling collection burnt
granted breathe dwelling wasted seeming blank enjoyment lazy harder ter chiefs muscles grasped telegram hay criminal
crawled nursery saving washing dislike staggered covering metal push flock principle haunted copy arrange hearth
design tightly opinions telegraph applied divine results revenge blade ringing disgust pirates killing planted
backed guardian recent cows severely addressing dainty receiving objects disgrace keeper consented educated mail
civil rings madness axe positively colors doll kick bravely addition thrill grain sport rules encountered evenings
wits donkey sincere talent rays fetched exquisite experiences feather proposal breathless shoe drifted escort porch
engineer indicated moss passes mount violence wax destruction chuckled birthday provisions pet owing desperately
cousins stillness insult wid tempted brightly hasty thread debt drawer spared diamond furiously gallery protest
brains probable comrade bottles brows employer conducted candles mess cotton attractive spectacles reported variety
ropes shells harsh blessing grin couch elephant lovers offended fatal students precisely remote ivory cheese awaited
corpse bows dug lifting observation fourteen parlor tune fame avenue sole teaching secretary poem altar sleeve
cavalry wounds dusk confined behave emotions parlour abandoned specially conquered dirt employment shaped curled
nervously suitable complain slope envy frankly released coward domestic gallant checked wiped climbing miracle
pleasures gardener kid dine stare clothing kicked lamps persuade defeat contrast dragging aim duck followers
clinging resolution profit peaceful faintly whistled sung salary shops disguise increasing fathers sparkling
answering pitch cupboard illness spears dusty firing needle meals cares doubtful barrel independent hunted puts
screaming briefly elderly leads altered louder leaping thankful closing offering guarded brick smoked expenses
introduce adding fashionable effects greeting wagon openly recently thieves blankets shield sobbing mouths monstrous
cream porter frequent landscape exchanged tails definite miller pencil pearl authorities map chorus pin degrees seed
snatched accounts murdered impatience filling darted discussed innocence tunnel ink stumbled suspicions nod employ
meadow increase wonderfully cliffs physician reception ranks treasures knocking swimming fare resistance column
panic hurrying despite temptation decidedly willingly apron source peril cracked worship nowhere bonds disease model
bonnet overhead swing footman including rifles fella displayed frost eagerness perceive terrace cease adopted
briskly canvas copper shrewd persisted lent bloom shuddered mostly simplicity response gale stirring homes leisure
pose rags thirst shepherd shabby apt restored asks pleaded factory deserved gleam distinct punished robbers planned
shared virtues dramatic vulgar pipes inspired dreary acts asserted coachman stealing term oath coats profound
advancing crow nigh instrument contact agitation ranch cakes accordingly ribbon peeped sheets curse swallow
recognised sergeant solitude purchase condemned painter counter wreck vaguely galley dwell approval carriages
smallest doubts spectacle experiment fore intently readers jumping sewing agitated secrets boarding pole tearing
embarrassed sickness spoiled jokes pouring vivid rowed wrought preserved motive belonging sensitive bald vengeance
des average surrounding charity creeping pond believing enchanted marrying ticket picturesque waiter root piled
novels matches faults paths labor actions rows occur sheer seal deceive neighbour existed editor choked inquire
luxury ambition surprising dig steward paces governess inquiry stained respected artistic fiery pronounced reproach
blazing nasty umbrella classes melted handful wealthy bend panting heir shawl fatigue wiser poison formerly invented
horns strained shelf torture envelope troop quaint answers accused dat majority sale cheered perched brandy kisses
relatives forbidden limb scratched discuss lined unseen rubber readiness clutched ejaculated forests policy nicely
talks seventeen flowed verse boughs huts eighty spiritual encouraged hen eyebrows happening lid robber halt rajah
stake balls dreadfully whispering inevitable principles shots magistrate aeroplane plants goose newly arch hare
hoarse pie fluttered scorn intentions jealousy wheeled proposition locks citizens fortunes medical normal assistant
flush suited cooked manly skins shillings formidable bored behaviour comforted passages reserve rival uncertain
stated fools groan vexed dangers keys hammer distinction fifth drunken pots ditch photograph sweat towers exposed
sex travellers wander cursed admirable gorgeous kissing button disturb gleaming princes dense costume relative
coolly reduced residence destined shriek background subtle apartments paws commented anguish appreciate improved
cannon sketch naughty lass tragic dash national comparison traveling stamped cigarette engines hook toil objected
pressure conceived sweetly nuts depended kitten hanged pushing enterprise robe desires fir patiently tasted crouched
polished chiefly comment lama maids element yielded fitting stretching crooked methods faithfully display nodding
shine tiger insist rat entertained confession unusually curly honey betray raw border represent shrieked assume
consisted nostrils grimly largest admiring remind youthful bidding whiskers quit pathetic studying swell pudding
whistling loyal cell harness nigger tremble skirt statue chains roofs hailed stockings welcomed intent dearly
embraced acquired spreading hunter earthly heroic tip growth rightly alert release est visiting fantastic armour
embrace potatoes electric male faltered hunters largely yell applause amazing distinguish softened deliver encounter
brutal population maintained clergyman trunks ruins drama honestly quantity ruled remove stool ability kin weird
ledge block peered render strict grunted tray rejoiced repeating stepping frighten slay shower doubted scale rats
appointment marching painting speaker feminine flashing heaps sweeping grieved devotion avoided confident buttons
brightened endless wonders essential maidens sleeves grove thirsty bees glare aught dew howling infinite reports
fountain issue cruelty universe boot latest bolt ample issued nations enabled roubles restaurant draught induced
assurance nerve split lecture howl invalid wilderness purposes chambers legal ladyship sentimental fearing blanket
intellect placing dismal depth bitterness launch flowing error spots sunny sticking unnecessary wars quivering
whirled moor baggage rattle dismissed hoofs pavement strictly frock foe magician daybreak remembrance toes plump
speeches traveller harbor traces comic passenger skull pitiful slippers feature creep barely jaws manse blushed sob
blaze commander pleasing development theater scoundrel curls drinks veins warrant renewed casting blossoms
sympathetic delicacy borrowed compliments musical generation peering counting justified politeness thirteen
convenient promising stair overwhelmed depends tracks warmed poets thumb terrific raft perform hillside hesitate
undertake invite heel yield gigantic fort radiant campaign gravity liking descend sets mines winning fuss ancestors
triumphant retained wrist git clumsy strongest collect claims convince desolate dimly legged operation actor outward
community yacht ken hairy snap courtesy breach poems desirable heed pitched machinery bounded shaft caution naught
joyous commands waking neatly rattled verses captive occupation combined mare foul lordship previously brushed
expensive respects complained cough contain plucked ass surrender frowned claimed sealed springs foam commission
perfection praised flour enable disappear rises withered burglar meadows offices strolled shiver legend inspiration
deepest restore ghosts receipt sniffed consult bearded text believes argue phrases saloon mob acknowledge origin
backwards personality regularly chat parcel varied print astonishing lodging merit herd murderer slim knot oldest
railroad boiled attract vacant stores feeding rug ascended insane declined ending jaw cord noisy boyish laden fan
cups reverence sighted sentiments hind races inform sins punish weighed disaster scout blossom thrilling strikes
chicken gravel cushions lighting threatening creek reigned certainty crowned summons devils rigid sorrowful sparkled
mayor banker lump china suits kettle tongues narrative damage sullen chattering fists shivering argued wisely
joyfully ripe keenly accomplish conceive apply noises hears attempts springing lingered presume loyalty flow
confirmed invention fragments writers lee damned incredible generations dripping groups stuffed occupy explaining
madly blamed claws owed wool descent entitled dealing tastes neglect screen provide odor circles questioning
ammunition mutual clothed overcoat breaks airs consolation bags wrinkled wholesome likeness capacity vigorous
drifting relate explosion whale witnessed puffed immensely relieve cordial bury brisk fireplace pattern scandal
guided preserve prosperous central rarely rubbish commonplace heroes scrambled cars spending harmless customs
complexion lighter demands shivered pursue primitive officials satin begging pupils advantages discussing frog
promises appearing limited purchased jug honourable northern county realised expectation weariness spray skipper
drum unnatural idiot balcony overheard tradition vote dipped criticism blush shores complaint submit bullets
reserved foliage borrow token pausing subdued fragrant entry basin lodge lungs stork stiffly bowing hail tossing
worldly strip endured rescued cavern dreaded butterfly bursting slipping selling breed boards prominent wont
critical bridegroom cautious involved liberal columns document activity orange peep resemblance boiling embroidered
cured seizing slumber quest cable nails caps sweetness finer skirts farmers helmet offence sobs returns plunge buggy
opposed ornaments challenge fascinating despise tempered expressions lodgings galloped arise parrot stunned
succession pluck agreement joyful grotesque beams forming dolls engage buying pistols observing massive sincerely
kneeling seemingly mourning racing dined tribes tucked temples tangled sands drift plains splendour organ
recognition smelt mantle scenery cane cash aft waistcoat tavern reckless founded wheat rustling sworn proportion
villain mast remainder arguments strings sermon frail chapel attentions respectful inclination tomb swaying gleamed
opposition comprehend grumbled rocking masses blooming painfully sweetheart paced fluttering shapes retire
attachment curve automobile gratefully loneliness infinitely surgeon afforded plus conveyed negro odds feverish
gratified tiresome route monotonous compass jam doings failing praying choking rotten proclaimed schools travels
starve motives soap willow citizen horseback pirate limit injustice sends pious picnic rivers rewarded handy
assisted sovereign literally nowadays pierced nail reckoned stamp elbows chickens gingerbread darkened dies
sincerity identity smashed consulted despised delayed defeated cradle concert calculated cargo security whisky deaf
eloquent momentary gasp sly sneered supposing personally bulk lame abrupt barred supreme beef timber divide ribbons
streaming thickly transparent clenched privilege confronted causes beastly posted grub frown mixture insulted echo
spinning angels irritated gallop photographs clerks slide tame refined victims historical recommend accent bloody
attempting included duel forlorn visions muddy fragrance purely chased dazed ducks glaring instruments proprietor
veranda brighter bathed universal glided mid opens particulars maintain plane immortal carpenter tap mask heather
pilot adjoining digging saluted thorough trifling asylum chums paw villagers fangs toys cheery frantic crystal
conquer flags fits sunrise bronze bleeding fiddle convey landlady owners reporter ridge handled flattered cherished
assault ray distressed charms formal serving depart shallow fruits angle owl lookout bully crest refer replaced
pines blocks attendants sinister elected glowed territory quicker taller shoved region resources discipline stables
uneasiness holidays rapture bestowed glittered patches disliked rod darker temporary moustache resentment proceeding
parish bunk starving merriment outfit kicking manuscript pretending butcher contains liquor indicate conception
girlish sweetest panted approve boast assented wink tough comb turf solution upwards resembled quoted clutching
rushes sneer execution jail payment discharged ses charmed hire gorge packet arts petty allowance watches
destination intimacy morality rejoicing folds timidly seventh culture alighted implored closet vainly sadness pail
mortgage witnesses spirited combination attentively goats scornfully clambered greet repose graves spoon section
incidents fisherman pasture philosopher dashing imprisoned reluctantly hauled humorous crawl inspector missionary
wharf tread crisis compare testimony patients await differently dwarf accord raven volumes disgusted excitedly tools
reflections noticing wallet ninety savages constable recognise verandah twinkling bounds trains channel snakes
protected wretch hospitality vines luncheon sled elephants tendency rounded tents butt enquired privately improve
furnish crowds tour injury fork operations discharge decks bungalow prudent knitting bee clump meekly doomed
entertain earliest gilt reasoning telephone spark oven drawers impressive blazed expressing leaders unwilling chaps
nut expert communicate footing composure nightmare cheering roast poisoned detected rusty rim interval team tooth
anticipated tumbling cushion affect scrape piercing significant noiselessly exists raging contract situated shelves
headache marvellous trot abandon palms theatrical abode erected theft sledge reference department unjust limp
illustrated silvery animated honesty mused fainted thrilled possessions imposing reflect infant blackness candy
mirth uttering distracted total verge rag mule gulf whites obviously howled defiance assuredly pays savagely
obstinate pas mon wilt sentry noses wistfully pupil annoyance artists shadowy reveal lashed harvest artificial
descending ache avail partially attending ward dazzling shutters necks garret obscure trivial unworthy traveled stem
saints settling shilling bluff unlucky arriving division courtiers improvement toy studio cordially foundation
actors bacon dances frontier species heaved hostile crawling resigned sour outline cowardly bridle chalk magazine
edges fold stroked prevailed quiver strokes scented dagger exhibition probability ardent flutter brightness bucket
adorned debts plantation medium deserves treachery attacks attic realise foremost streams measured translated
battles suspense reads gasping forbid creation swayed appreciated despairing obedience moaned clue spurs recollect
canoes incapable muslin sounding elders streamed attendant muttering uncanny preparation jerked gaiety giants bout
retain standard knowed sixth reef battered perplexed mistakes wailed fulfilled humming prejudice stooping lesser
watchman jar starved bachelor husbands perpetual infantry traitor leisurely charges heathen tumble industry
proceedings sheltered lowest prolonged tan vice rugged nests rub dove float prospects acres appealed sausage liable
calf rider permanent helplessly gap mates devote beaming baskets hasten tub rattling substance bustle approved
ghastly induce concealment beak ferocious rational semi auto nieces graciously jewel hens multitude sane serpent
elements ruler contrived nobles splash reminds blacksmith haughty refusal cemetery monk customary tortured combat
dock favourable ungrateful grinning necklace banquet coin allowing doctrine measures loosened depressed adored
stripped crouching posts solely dispute greedy mansion behalf temperament steering beacon perplexity refrain
management decorated attained pursuing singularly trader unkind appropriate growling blast remorse woe chariot bands
inward preceding orderly homeward barking elaborate recommended honoured tackle belly troopers sights ambitious
corrected hateful discovering soothing moves esteem hangs wiping devoured garment schemes hum swollen judges fishes
countless pang genial confided select camel mend suspended mournful innumerable ecstasy butler totally regained
enclosure democracy tapped sorely launched uproar frowning growl parallel logs pouch continual adventurers logical
snuff wears sturdy mat armor cherry glared discretion nightingale bond decline riches churchyard miner soberly dears
nurses effective opera shorter vegetables inspection horrified suppressed vital shattered battery rely agents arena
perfume cigars clearer richly occupants handwriting fiction resented villa humiliation inherited encourage destiny
estates dam hopeful beam tow wakened costly wan convent bang conflict alter excite dived indulged lark hardest
skeleton slavery loaf shaggy cathedral typical kinder oppressed gracefully pleases attraction guilt fearfully
wrecked hopelessly securely coughed sacks defense intolerable rascals splendidly hostess rejoice honorable icy
rowing weeds luxurious safer peas crop attire winged spectators reign caves shifted casual meetings joking beckoned
reins touches pebbles torment inhabited resolutely baker raced penetrated oar chum artillery fugitives scissors
glove robes rash novelty commit prosperity bodily pigeon twigs pondered valleys cleaned restrain surf heights
vigorously marvel constructed gripped scolded spoilt reared wreath emphasis snug peculiarly striving superb thicket
paddle commercial whirling robbery siege dans salute joys pictured champagne malice merchants crowns nightfall
liquid climate justly biting boss beads commanding compassion finely eyelids affections creed intercourse throng
trumpet poles scrap cultivated ribs richer dizzy prose apology sensations knots refusing doubtfully eventually corps
customers designs worthless energetic stairway bedside proves prompted adopt exhibited traced covers continuous
cheers rounds graveyard minor merits trimmed lunatic surveyed scratch pacing wistful plunging grudge rapidity
eloquence drooping violet shift aimed lacking scholar stops skies futile moderate foes discouraged needles shirts
humility sparrow wearied ferns stamping bind achieved litter hates understands hedges prime perish licked mole
captives benches tense trenches whispers offers navy lords coral bolted sufferings heaped tend bruised heavenly toe
gait settlement pillar sparrows chatter lifetime perilous vowed critics twist barrier puppy monkeys originally
monarch ther pins pillows vexation homely hymn stoutly inferior scare freed puzzle civilized hesitating defy
restrained threat enters traffic tended endeavour stations cabinet worm comedy exertion sings ant coolness crush
secrecy cocked dreamy cruelly repent sullenly flank regiments pillars submarine toast trials dingy parade newcomer
drown blushing assigned curved irritation jerk oblige glimpses languages fowls aided specimen swelled tedious carts
hermit misfortunes nineteen bathing dawned flaming doubled halls deprived overtake deliberate actress violin bicycle
ogre lah imitation delights mute notions balloon clatter sighing lime silken passions alight armchair midday
circular lagoon sorrows neighboring precipice luggage executed chuckle tips grasses bin monsters menacing ideals und
cleverly pricked extravagant singer splendor accepting chestnut lets pantry birch ruddy salmon abuse gaining reverse
betrothed grandson structure scores relaxed determine materials vacation tidy repay consumed meets swelling eternity
sentences streak handing willows deposited vicious quivered inventor requested ascertain relish lowering plum airy
witty repair groom rustic regards workman crashing grasping smash cub gowns soundly laughs breadth draws interfered
giddy alarming frogs beats mustache shutting exclaiming elegance cottages recorded hotly shouldered framed uncommon
unbroken senseless escaping elapsed rabbits dealer earnestness ankle ivy instincts delicately doom sums vent toss
whirl peeping folding arranging imaginary wondrous stung frenzy beforehand retreated torches radiance slew regain
patent whereabouts limits justify pairs beamed ached statues dinners institution production garrison pinched suicide
inquiring circus huddled floors spade logic mining planning fling inviting beans weaker transformed interpreter
torrent superiority scratching millionaire unique investigate election rupees hints imitate trim enclosed resolute
mode urge manhood mermaid judging controlled hangings contest mentally joining hurts pinch sacrificed customer
madman sire commonly machines corridors sideways impudent plank aching courteous spin eccentric muscle convincing
exultation urging drill file additional interposed nobility obtaining canal ornament steer messages fowl veiled
pigeons exile monument placid requires baffled swan muffled emergency baked churches tickets costs episode lily
announce raged vanish wail crops broom fascinated excuses stormy wires snarled screams favorable throats client
mainland traders valued trifles stray rocked crust niggers generosity weigh proportions uses urgent rolls shiny tank
twisting workers lanterns withdrawn located encouraging waked gestures impress marsh smoothly dismounted skinned
prizes abyss appearances vile realization create jury boar skiff meek beggars vine moods packing harmony barren
rouse swans flatter mocking gear snowy utterance images vow crushing defended straining exercises peoples opponent
sheik maker bearer patriotism comforts honored wider plague mock separation dotted modesty virtuous menace signature
galloping pump loft underground quarry obliging finishing shines richest recovering terrors sliding heath exhaustion
hounds heading disposal shrieks committee crimes aristocracy freshness stored attentive seeds continuing hop
treacherous restraint experiments flinging irregular nobleman slippery seaman arched rudely accidents sill forcing
personage torch headlong ravine panther intending damsel rustle orphan application illuminated wager loveliness
stubborn suggestive fringe paragraph supporting ushered desirous ultimate mechanical inland wireless snarling vodka
wipe coals sickly heroine bouquet handling clasping mane pies mutton highway designed kids reeds greatness
overlooked courts champion par modestly hood flannel hovered violets resignation rum subsided portraits conspicuous
interrupt assent describing stoop intensely lacked lied grieve documents heated pulpit aisle precaution scales
spruce abstract patrol sew struggles scanty authors breeding cling audible yawned explore ignored senior forgiveness
poetical brink revolt slice harp greasy principally yells smoothed perch innocently revelation hereafter hue chilly
critic caring effected professed joint talents idleness boom shifting detached disguised shuddering naval frivolous
patriotic thorn outburst serene drowning nicer exaggerated planet fain ranged panel drives starts volunteered
attendance published precise isle befall indulge ale clasp bough objections impressions worrying prophecy barracks
package miners soaked occurrence toiled horrors bricks dip morals rainbow moist disorder unlocked toad obstacle
tribute boyhood despatched fainting awakening shaven thundered magazines preference volley gross exceptional
revolvers kirk flapping murmuring producing cleaning victorious preach amiss slopes compound woven blinded prostrate
influenced endeavoured prompt aunts crude vicinity deemed chained brutes verdict youngster traditions resisted
resolve shark fights mischievous bestow sorrowfully plaster cabbage curling depression longest shocking wrists
assertion lashes loan swearing peak correctly financial endurance concerns forwards nursing coins sloping squeezed
escorted consists hound horde bundles coincidence gateway buck flee ferry equipped conspiracy favored amateur
province solve crumpled comical pulse blinking whim ominous cask curl displeased gaunt mournfully lonesome estimate
negative tax spur miser mantelpiece carcass shades socks venerable barrels youths deuce berth sketches despatch
remedy grandeur rebellion fairest ministers complicated hinted harshly barked crosses prices cuts shrine recovery
oppose farmhouse messengers reappeared yawning ups travelers vegetation smelling piles festival suggestions wasting
mound vegetable lingering manifest staggering soothed haggard expressive rung handsomely echoes hoisted borders
instructed casually confidently mended stall dive frankness cricket hardened stump invent reform disturbance
extending sized removing roadside drums trampled players brand alliance foolishness stepmother bulls brig weekly
tact knit insolent hotels reluctant composition mounting panes porridge solved glistening establish trumpets moaning
tons namely lash preacher expanse conference figured gentry rejoinder accidental peacefully repaired earning
excursion cruise clutch realizing cleverness eats zeal poetic confinement tidings defiant pleading wailing tangle
differ develop afflicted biscuits baths duly fugitive withdraw penetrate unlikely trading chauffeur undertaking tire
ruffled yarn wayside flask annoying mildly blades click confounded feller turtle rack tapping pretence imposed
threats tout sparks brilliantly neared gallows clubs mornings caress tranquil array indulgence injure essay distrust
unfolded valet apparatus rigging disturbing alien swine fighter stride attacking coughing jackal ingenious crisp
splashed stroll resent dire winked prudence exposure tormented slate choosing rejected fixing practised plunder
exploded puff frightfully accounted continent ascent examples location turkey widely caste motherly glossy yearning
masculine engaging symptoms scornful strayed gambling stupidity converse lodged rooted outlines indicating rained
pork globe version inspiring obligation propriety kindred upside glimmer haze uniforms starboard twins eminent
shrieking shrubbery pier awed outcome preached pathos calamity romances fewer stumbling unaware lanes welfare
circled compromise detained musician mortals banner peaks lakes positions invasion antagonist conclude canyon ransom
refreshed morbid everlasting slap fern creaking merciful device tumult disgraceful grumbling moan dome conductor
balanced oaths riot glacier hoarsely speck splashing wanderings solemnity resume fascination damn rice spider
involuntary hospitable succeeding strung unnoticed freight camels haul farms countryman cripple captors problems
beech gems inheritance snorted remembers perished causing grassy toilet uplifted topic chilled defined abominable
detect grammar uncovered ascend proofs yelling latch dynamite assembly screw pits rainy trailing bathe poorly herbs
kindled sleeps symbol acceptance charcoal liar observer captivity wildest devour predicament clapping princesses
bravery captains snoring sunken tempest treason conjecture archers surveying catastrophe gypsy discreet caressing
spells bridal reassured destroyer purity speechless basis fleeing mentioning groaning insolence definitely schoolboy
worlds famine reaches throws mainly area ash varying salvation rheumatism flattering refreshing wisest drowsy
undisturbed bass gust implore snatch collecting footed nursed mix substantial swarm infernal admission marvelous
forenoon vastly whiskey annoy watering nap hysterical civility wooded dazzled sombre yielding mellow affliction
shrink hawk decay imploring chattered diary bridges blocked bothered records leopard cot fortress repetition
pursuers resulted deception clutches tropical alternative lighthouse abundance enduring inwardly hushed wardrobe
project lifeless blackened edged tutor wig thorns excused hatch accordance grocer storks appealing ants puffing pane
especial fared troublesome chasing fasten mists endeavor thinner chests isolated abide thrusting grandma sixpence
din burial flashes errors procure melt helm stag conclusions muzzle bailiff alcohol artificers shady castles
trusting sustained fails memorable parent outrage gentleness breeches furnace absently swamp insects lovingly
malicious lumber rogue shovel sighs resemble familiarity writings consulting unfair colossal essence forged hilt
mourned listener legends exalted worshipped mouthful associated idly gilded awaken consisting crows adventurous rein
abreast associate charging twin thicker surged trigger indication quote arouse dit cruiser instruction martial
pitcher guides caresses doorstep calmness twig diet irony displeasure rides acute stain accusation extend
recollected popularity complaints mug incessantly director offensive vault automatic storms industrious spat endowed
shrug falsehood declaration powerless reflecting drooped notable reasoned existing enchantment orchestra hatchet
shakes chocolate vehicle dispose journeyed spit discourse expose journalist outskirts successor ties glee partners
foolishly exertions chooses summon apparition declaring restlessly regions premises bookkeeper coldness cheated
impelled miracles circling flickering horseman rains discomfort applauded needful speculation pools ferocity
traversed flooded ensign warmer bloomed haunt thanking intensity tilted provision dungeon flocks darkly attired
stature funds sometime majestic sickening puncher rebel cosy chaise smothered parson scar losses historic husky
sprinkled site portions westward favoured arguing nineteenth shoemaker twentieth prodigious guessing languid
consoled anchored reverie pans carpets motto stony elevated dragons denial chivalry frames wrongs bat clew
contracted exasperated ensued weighing swarmed awkwardly assert detachment lays palisade sloop sewed hip scarf
scolding impertinent wee assuming shares tremulous penalty sash revived illusion bureau convenience monks plough
leafy rumour masts random extremity insensible evolution offend shrinking quarrels poised comer flourish refreshment
goal doves droll ham furs avoiding wand association based attain muscular adversary dangling seals equivalent
selection projecting sweeter deepened gifted console tremor hissed retreating shrubs resort wed poker dory greetings
pledge rods slack stretches camera topped grunt snail boarded rests recess twinkled linger tourists simplest
reproached hovering towel soothe survey obstacles etiquette delirium brushing claw wonderingly teachers cutter
solicitude clearness bony void blinds blinding traveler instances paradox khaki blunt brooding errands afloat
watchful rustled relating tug prophet strap plight planks pocketbook equality ally forks democratic decency
starvation demon drenched seriousness concealing stealthy ascending inquiringly gallantry chimneys belongings crater
scowled oxen fighters towered dryly essentially cartridges kittens shaded savings spotted irons parcels vest
procured link squirrel homage weakly assailed writhing dates enveloped huntsman oats specimens barbaric skilful
conquest prone downcast idol perils misty hides obedient scowling ambitions quilt heaving deaths disgusting replace
hastening crafty improbable rig ankles partial tyrant alley pronounce admirers heave tempt drug firs grating
chuckling melting tattered appalling types labours moat defenders tenth livery entreat filthy extensive fills mak
aperture walled crowding reindeer candidate chart bared smells shameful jelly approvingly tasks helps noblest bonny
seasons steamers weed titles regrets undone hardships profitable truths kills towering poked reconciled acquire
dearie omnibus bomb palaces cabman housemaid threaten competent leaps sniff pennies ordering fondly glitter mattered
crossly bleak flights adjusted sulky instinctive accursed economy attributed loomed waggon lamented foaming lick pew
crackling colony debate raid eighteenth stupefied impudence journal scraps devices demanding stroking proving
wickedness undertone spelling gratify maternal silks uncertainty listeners squeeze scholars daytime brethren trout
repulsive barge indebted revealing organized pavilion entreated emotional subsequent jewelry girdle olive projected
railing praises arches boarders softness prejudices silenced bliss critically courageous forgets pilgrimage gladness
disgraced juice motioned counts hairs pea bristling statements hinder overpowered lever boasted canna halfway ower
sinner charitable buds placidly nuisance persistent provoked lawful generously effectually treating indoors
inflicted stead compact resource cork terrier wringing edition incessant bust burly disdain foundations terrifying
tube courses whatsoever dirigible soiled faculty sniffing stocking boil nook spacious tigers stays luminous voiced
deference fathom enlightened decisive suddenness fished farce constituted squares sleek individuals akin assailants
potato profoundly crashed psychic galleys influences reaction watered plums converted paler blunder guidance
defiantly cursing challenged continues advances ginger pepper peacock occurs lilac honours stationed derived
eastward nameless brace ruffian riddle lust mite freezing relics fervently brim nets tying heiress strife orator
worms rebels abashed swallows possesses nobly waken granite tramped soared sublime steed hug engagements crippled
risks abused repeatedly proverb babe accuse hissing parchment swiftness hopefully recalling melody discontent
survived freeze incredulity composedly lance survive preceded amusements dose punch earthquake invested margin choir
announcing rails rugs bluntly surrendered passers hooks comparative bolts axes caravan absorbing blessings
comforting peal banished dearer faintest selfishness achievement clouded runaway clustered delusion avenge mastered
sting mystic incredulous forefinger pained unbearable refinement clap striding foreigners removal severity shove
scraped bounding whin warfare provinces lure dismayed oyster detailed obediently meddle colt regardless vividly
wreaths goddess adventurer lids reproaches gutter tested printing blouse promotion sheriff slaughter wriggled
strides cynical loosed fleeting bravest womanly vigor haunts peer reluctance tool choke morsel expects oppressive
vitality blankly penetrating cowardice bewitched serves beau curses commotion hooked stating noticeable accurate
squall criminals outlook confide softer diving waits tempting crumbs fearless scattering frosty mature vows whining
`;

/** Lower-case words in order of frequency. */
export const commonWords: readonly string[] = parseWords(text);

/** The words of 3–11 letters of a list separated by blanks or line breaks, in its order. */
export function parseWords(list: string): string[] {
  return list.split(/\s+/).filter((word) => word.length >= 3 && word.length <= 11);
}
