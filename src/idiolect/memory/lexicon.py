"""Closed and near-closed classes of English words that say something lasting of a person: kin, work, health, food.

Each is a regular expression without outer grouping over the normal form of :func:`idiolect.memory.clauses.plain`. They
are what dictionaries list, American and British, with everyday words; longer ones stand first where one begins another.
"""

from __future__ import annotations

import re
from itertools import groupby


def _any(text: str) -> str:
    """Return an alternation of words, ``_`` for a space; beginnings are shared, so that it is quick to match."""
    return _tree(sorted({word.replace("_", " ") for word in text.split()}))


def _tree(words: list[str]) -> str:
    """Return a regular expression for sorted words; at each place the longest is tried first."""
    branches = []
    for first, group in groupby((word for word in words if word), key=lambda word: word[0]):
        rest = [word[1:] for word in group]
        inner = _tree(rest)
        branches.append(re.escape(first) + (f"(?:{inner})" if "|" in inner and not inner.startswith("(?:") else inner))
    if "" not in words:
        return "|".join(branches)
    return f"(?:{'|'.join(branches)})?" if branches else ""


CLOSE_KIN = _any(
    "wife husband partner spouse fiancee fiancé fiancée fiance girlfriend boyfriend gf bf hubby missus son sons"
    " daughter daughters kid kids child children baby toddler newborn boy boys girl girls twins twin triplets stepson"
    " stepdaughter stepkids stepchild grandson granddaughter grandsons granddaughters grandkids grandchild"
    " grandchildren lad lads little_one little_ones youngest eldest oldest other_half better_half"
)
KIN = f"""{CLOSE_KIN}|{
    _any(
        "mum mom mam mother dad father papa mama parents brother brothers sister sisters sibling siblings nan gran"
        " granny grandma grandmother grandpa grandad granddad grandfather stepdad stepmum stepmom mother-in-law"
        " father-in-law brother-in-law sister-in-law in-laws"
    )
}"""
OTHERS = _any(
    "friend friends mate buddy pal neighbour neighbor neighbours neighbors colleague colleagues coworker co-worker"
    " boss manager chief cousin cousins uncle aunt aunty auntie nephew niece flatmate roommate housemate client clients"
    " customer customers patient patients student students pupil pupils guest guests passenger tenant tenants landlord"
    " landlady teacher professor coach guy gentleman man woman lady girl_in bride groom ex classmate teammate"
    " acquaintance stranger someone somebody assistant intern trainee commis apprentice supervisor celebrity player"
    " character protagonist hero narrator"
)
JOBS = _any(
    "accountant actor actress actuary analyst anaesthetist animator archaeologist architect archivist artist astronomer"
    " attorney auditor author backend_developer baker banker barber barista barista barrister bartender beekeeper"
    " beautician biologist blacksmith bookkeeper bookseller botanist bricklayer broker builder bus_driver butcher"
    " cabbie cameraman caregiver carer caretaker carpenter cashier ceo cfo cto chef chemist chiropractor civil_servant"
    " cleaner clerk coach cobbler comedian composer conductor consultant contractor cook copywriter coroner counsellor"
    " counselor courier curator dancer data_scientist dean dentist designer detective developer dietitian diplomat"
    " director diver dj doctor doula driver economist editor electrician engineer entrepreneur estate_agent farmer"
    " farrier film-maker filmmaker firefighter fisherman fitter florist forester freelancer funeral_director gardener"
    " geologist glazier goldsmith gp grocer hairdresser handyman head_teacher headteacher historian housekeeper"
    " housewife illustrator instructor interpreter investor janitor jeweller jeweler joiner journalist judge laborer"
    " labourer landscaper lawyer lecturer librarian lifeguard locksmith logistician lorry_driver magistrate maid"
    " make-up_artist manager mathematician mechanic mediator midwife miner minister model mortician musician nanny"
    " neurologist notary nurse nutritionist optician optometrist osteopath painter paralegal paramedic pastor"
    " pathologist pediatrician paediatrician pharmacist philosopher photographer physician physicist physio"
    " physiotherapist pianist pilot plasterer plumber podiatrist poet policeman policewoman police_officer politician"
    " porter postdoc postman postie potter priest prison_officer producer product_manager professor programmer"
    " project_manager psychiatrist psychologist publisher radiographer radiologist ranger realtor receptionist"
    " recruiter reader referee reporter researcher roofer sailor sales_rep salesman saleswoman scaffolder scientist"
    " sculptor seamstress secretary security_guard shepherd shopkeeper singer social_worker sociologist"
    " software_engineer soldier solicitor stonemason street_vendor student surgeon surveyor sysadmin tailor"
    " tattoo_artist tattooist taxi_driver teacher teaching_assistant technician tiler trader train_driver trainer"
    " translator tree_surgeon trucker truck_driver tutor undertaker upholsterer usher valet vet veterinarian vicar"
    " videographer violinist waiter waitress watchmaker weaver web_developer welder window_cleaner winemaker writer"
    " yoga_teacher zoologist dev devops intern apprentice trainee freelance bus_conductor oncologist"
    " cardiologist dermatologist au_pair personal_trainer translator bodyguard tram_driver"
    " cabinet_maker tour_guide travel_agent flight_attendant air_hostess housing_officer probation_officer"
)
DIETS = _any(
    "vegetarian veggie vegan pescatarian pescetarian keto paleo halal kosher gluten-free gluten_free dairy-free"
    " dairy_free plant-based low-carb low_carb carnivore flexitarian omnivore lactose-free fodmap"
)
CONDITIONS = _any(
    "asthma asthmatic diabetes diabetic diabetis coeliac celiac epilepsy epileptic arthritis arthritic hypertension"
    " high_blood_pressure low_blood_pressure blood_pressure cholesterol cancer leukaemia leukemia lymphoma tumour tumor"
    " migraine migraines depression depressed_for anxiety_disorder anxiety panic_attacks bipolar adhd autism autistic"
    " dyslexia dyslexic dyspraxia ptsd ocd schizophrenia anorexia bulimia eating_disorder insomnia sleep_apnea"
    " sleep_apnoea narcolepsy tinnitus deaf deafness hard_of_hearing hearing_aid hearing_aids blind blindness"
    " colour-blind colour_blind color_blind colorblind cataract cataracts glaucoma macular_degeneration wheelchair"
    " prosthesis prosthetic amputee pacemaker stent heart_attack heart_failure heart_condition heart_problem"
    " heart_disease arrhythmia afib atrial_fibrillation angina stroke copd emphysema bronchitis lupus crohn's crohns"
    " colitis ibs ibd endometriosis pcos fibromyalgia multiple_sclerosis parkinson's parkinsons alzheimer's dementia"
    " hiv hepatitis kidney_disease kidney_stones kidney_stone gallstones ulcer reflux gerd gout psoriasis eczema"
    " rosacea osteoporosis scoliosis sciatica slipped_disc herniated_disc stress_fracture hernia anaemia anemia anaemic"
    " anemic haemophilia thrombosis blood_clot blood_clots thyroid hypothyroidism hyperthyroidism hashimoto's vertigo"
    " carpal_tunnel tendonitis tendinitis plantar_fasciitis pregnant pregnancy preeclampsia lactose_intolerant"
    " lactose_intolerance gluten_intolerant fructose_intolerant intolerant intolerance sickle_cell cystic_fibrosis"
    " long_covid chronic_fatigue chronic_pain hip_replacement knee_replacement transplant dialysis colostomy vitiligo"
    " gestational_diabetes prediabetes pre-diabetic prediabetic pots raynaud's menopause heart_murmur"
    " heart_surgery bypass stammer stutter self-harm suicidal epi-pen"
)
MEDICINES = (
    r"(?!april\b)(?:"
    + _any(
        "insulin metformin warfarin ibuprofen_daily blood_thinners blood_thinner beta_blockers beta_blocker statins"
        " statin antidepressants antidepressant ssri ssris sertraline fluoxetine citalopram escitalopram prozac zoloft"
        " lexapro lithium xanax diazepam ritalin adderall methylphenidate concerta levothyroxine thyroxine prednisone"
        " prednisolone steroids methotrexate chemo chemotherapy radiotherapy immunosuppressants apixaban eliquis"
        " rivaroxaban heparin amlodipine lisinopril ramipril losartan omeprazole gabapentin pregabalin lamotrigine"
        " keppra valproate methadone buprenorphine naltrexone antabuse ozempic mounjaro wegovy hrt tamoxifen"
        " inhaler epipen epi_pen epi_pens adrenaline_pen auto-injector autoinjector clozapine quetiapine anticoagulant"
        " anticoagulants oxygen_tank digoxin blood_pressure_pills blood_pressure_tablets the_pill water_tablets"
    )
    + r"|\w+(?:pril|sartan|olol|statin|oxetine|azepam|gliptin|gliflozin|tidine|prazole|mycin|cillin|xaban))"
)
BODY = _any(
    "knee knees hip hips back shoulder shoulders ankle ankles wrist wrists elbow shin heart kidney kidneys liver lung"
    " lungs leg legs foot feet hand hands eye eyes ear ears spine disc neck hearing eyesight sight stomach bladder"
    " prostate thyroid pelvis collarbone achilles acl meniscus hamstring rotator_cuff"
)
AILING = _any(
    "bad broken fractured torn gone knackered_for weak replaced arthritic damaged failing worn_out shot dodgy busted"
    " replacing ruptured fused replacement"
)
ALLERGENS = _any(
    "peanut peanuts nut nuts shellfish shrimp shrimps prawn prawns crab lobster seafood fish egg eggs milk dairy"
    " lactose"
    " gluten wheat soy soya sesame kiwi strawberry strawberries latex penicillin aspirin ibuprofen pollen cashew"
    " cashews"
    " walnut walnuts almond almonds hazelnut hazelnuts mustard celery lupin mango apple apples bee_stings wasp_stings"
)
FOODS = f"""{ALLERGENS}|{
    _any(
        "meat beef pork chicken turkey lamb salmon tuna bacon sausage tofu cheese butter cream yoghurt yogurt coffee"
        " tea beer wine whisky whiskey gin cider alcohol sugar salt bread rice pasta potatoes potato tomatoes tomato"
        " mushrooms mushroom onions onion garlic cilantro coriander olives olive aubergine eggplant courgette broccoli"
        " spinach cabbage beans lentils chickpeas chocolate liquorice licorice cinnamon ginger chili chilli spicy_food"
        " curry sushi pizza avocado banana bananas coconut raisins beetroot celery offal liver oat_milk matcha soda"
        " coke cola blue_cheese feta anchovies oysters mussels peppers pepper cucumber dill basil mint honey oats"
        " porridge smoothies juice espresso decaf caffeine sweets dessert marzipan mayonnaise mayo ketchup"
    )
}"""
PETS = _any(
    "pet pets dog dogs puppy puppies pup pups cat cats kitten kittens tomcat tabby rabbit rabbits bunny"
    " hamster hamsters"
    " guinea_pig guinea_pigs rat rats mouse_called ferret ferrets parrot parrots budgie budgies canary cockatiel"
    " tortoise turtle snake gecko lizard bearded_dragon goldfish axolotl horse horses pony donkey donkeys goat goats"
    " hens chickens ducks bees hive hives sheep ewes cow cows cattle alpacas llama beagle labrador lab_puppy poodle"
    " collie terrier spaniel dachshund greyhound whippet bulldog pug husky corgi retriever alsatian german_shepherd"
    " rottweiler chihuahua boxer_dog mongrel mutt rescue_dog rescue_cat siamese maine_coon hedgehog chinchilla"
)
DRUGS = _any(
    "alcohol drinking booze drink smoking cigarettes cigarette fags fag smokes vaping vape nicotine weed cannabis pot"
    " cocaine coke heroin opioids opiates painkillers pills oxy meth ketamine gambling betting gargle the_drink"
    " the_sauce"
    " the_bottle pills benzos porn tobacco rollies slots casino casinos"
)
VEHICLES = _any(
    "car van truck lorry motorbike motorcycle bike bicycle e-bike ebike scooter moped camper campervan caravan boat"
    " tractor trailer rv suv pickup toyota honda ford volvo vw volkswagen golf_gti bmw mercedes audi tesla fiat renault"
    " peugeot citroen skoda seat_ibiza opel vauxhall hyundai kia mazda nissan subaru suzuki mitsubishi jeep dacia prius"
    " camry corolla civic yaris clio polo passat octavia fiesta focus leaf yamaha kawasaki ducati harley vespa"
)
THINGS = _any(
    "laptop macbook thinkpad pc iphone pixel android ipad tablet kindle camera nikon canon fuji fujifilm sony leica"
    " olympus guitar piano keyboard violin cello drum_kit drums ukulele banjo accordion saxophone trumpet flute synth"
    " telescope sewing_machine 3d_printer printer router nas ps5 xbox switch steam_deck playstation house flat"
    " apartment cottage farm allotment garden greenhouse shed workshop sauna hot_tub kayak canoe surfboard tent"
    " air_fryer instant_pot espresso_machine bread_machine oven wood_stove lathe table_saw chainsaw drone turntable"
    " smartwatch garmin apple_watch raspberry_pi linux ubuntu windows mac chromebook samsung galaxy loom kiln"
)
LANGUAGES = _any(
    "english portuguese spanish french german italian dutch polish russian ukrainian czech slovak hungarian romanian"
    " bulgarian greek turkish arabic hebrew farsi persian urdu hindi bengali tamil telugu punjabi gujarati marathi"
    " mandarin cantonese chinese japanese korean vietnamese thai tagalog malay indonesian swahili yoruba igbo hausa"
    " amharic somali zulu afrikaans swedish norwegian danish finnish icelandic estonian latvian lithuanian irish gaelic"
    " welsh scots catalan basque galician croatian serbian bosnian slovene albanian armenian georgian welsh latin"
    " esperanto bsl asl sign_language twi kurdish pashto nepali sinhala khmer burmese mongolian kazakh uzbek"
    " luxembourgish"
)
NATIONS = (
    LANGUAGES
    + "|"
    + _any(
        "american british canadian australian brazilian mexican argentinian colombian peruvian chilean venezuelan cuban"
        " jamaican nigerian ghanaian kenyan ethiopian egyptian moroccan algerian tunisian lebanese syrian iraqi iranian"
        " israeli palestinian jordanian pakistani indian bangladeshi filipino filipina austrian swiss belgian scottish"
        " kiwi south_african senegalese ugandan rwandan bolivian belarusian moldovan maltese cypriot kosovan"
        " puerto_rican"
    )
)
FAITHS = _any(
    "muslim christian catholic protestant jewish hindu buddhist sikh atheist agnostic orthodox quaker mormon jain pagan"
    " methodist baptist evangelical lutheran anglican religious jehovah's_witness"
)
ACTIVITIES = _any(
    "run running jog jogging cycle cycling swim swimming climb climbing bouldering hike hiking row rowing ski skiing"
    " snowboard snowboarding surf surfing skate skating box boxing judo karate jiu_jitsu bjj taekwondo yoga pilates"
    " crossfit weightlifting powerlifting gym dance dancing salsa tango ballet knit knitting crochet crocheting sew"
    " sewing quilting embroidery pottery paint painting watercolour watercolours draw drawing sketching woodwork"
    " woodworking carving gardening birdwatching birding fishing fish sailing kayaking diving scuba photography"
    " chess poker bridge scrabble d&d dnd warhammer gaming video_games football soccer rugby cricket tennis badminton"
    " squash golf basketball volleyball handball hockey netball darts snooker choir singing guitar piano violin cello"
    " drums ukulele bass flute saxophone trumpet accordion banjo organ harmonica baking cooking brewing homebrewing"
    " beekeeping astronomy meditation meditate marathon marathons triathlon triathlons half_marathon calligraphy"
    " origami genealogy geocaching model_trains lego theatre improv stand-up fencing archery horse_riding riding padel"
    " pickleball bowling wrestling gymnastics volunteer volunteering fortnite minecraft rocket_league valorant roblox"
    " league_of_legends fifa dota overwatch counter-strike stardew_valley elden_ring foraging metal_detecting karaoke"
)
MONTHS = _any(
    "january february march april may june july august september october november december jan feb mar apr jun jul aug"
    " sep sept oct nov dec"
)
DAYS = _any(
    "monday tuesday wednesday thursday friday saturday sunday mondays tuesdays wednesdays thursdays fridays saturdays"
    " sundays mon tue tues wed thu thur thurs fri sat sun weekdays weekends weekend"
)
NUMBERS = (
    r"\d+|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|both|a couple of"
)
AGES = r"\d{1,2}|(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:[ -]\w+)?|eighteen|nineteen|\w{3,5}teen"
